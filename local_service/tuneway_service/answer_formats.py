"""The JSON of answers: `/completions` and `/chat/completions` differ in nothing else."""

from __future__ import annotations

from typing import Any, Final

from tuneway_service.ids import new_id
from tuneway_service.trainers.conversation import split_tool_calls


class CompletionFormat:
    """Answers of `/completions`: plain text."""

    prefix = "cmpl-"
    kind = chunk_kind = "text_completion"

    def answer(self, text: str, finish_reason: str, *, calls: bool = True) -> dict[str, Any]:  # noqa: ARG002 - of chats
        """A finished answer; `calls` says whether calls of tools are taken out of its text."""
        return {"text": text, "finish_reason": finish_reason}

    def opening(self) -> dict[str, Any]:
        """The first piece of a stream, before any text."""
        return {"text": ""}

    def piece(self, text: str) -> dict[str, Any]:
        """A piece of an answer, as it is streamed."""
        return {"text": text}

    def closing(self) -> dict[str, Any]:
        """The last piece of a stream, after all text."""
        return {"text": ""}

    def at_once(self, text: str, finish_reason: str) -> tuple[dict[str, Any], str]:
        """A whole answer as one piece, and the finish reason."""
        return self.piece(text), finish_reason


class ChatFormat(CompletionFormat):
    """Answers of `/chat/completions`: messages, with tool calls."""

    prefix = "chatcmpl-"
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def answer(self, text: str, finish_reason: str, *, calls: bool = True) -> dict[str, Any]:
        """A finished answer; `calls` says whether calls of tools are taken out of its text."""
        message, reason = _message(text, finish_reason) if calls else ({"content": text}, finish_reason)
        return {"message": {"role": "assistant", "refusal": None} | message, "finish_reason": reason}

    def opening(self) -> dict[str, Any]:
        """The first piece of a stream, before any text."""
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, text: str) -> dict[str, Any]:
        """A piece of an answer, as it is streamed."""
        return {"delta": {"content": text}}

    def closing(self) -> dict[str, Any]:
        """The last piece of a stream, after all text."""
        return {"delta": {}}

    def at_once(self, text: str, finish_reason: str) -> tuple[dict[str, Any], str]:
        """A whole answer as one piece, and the finish reason."""
        message, reason = _message(text, finish_reason)
        for index, call in enumerate(message.get("tool_calls", ())):
            call["index"] = index
        return {"delta": message}, reason


def _message(text: str, finish_reason: str) -> tuple[dict[str, Any], str]:
    """The message that an answer's text stands for, its tool calls taken out, and the finish reason."""
    plain, calls = split_tool_calls(text)
    if not calls:
        return {"content": text}, finish_reason
    tool_calls = [{"id": new_id("call_"), "type": "function", "function": call} for call in calls]
    return {"content": plain or None, "tool_calls": tool_calls}, "tool_calls"


CHAT: Final = ChatFormat()
TEXT: Final = CompletionFormat()
