"""Conversations as plain text: the form in which a small model reads messages, tools and tool calls.

A message becomes its text. Of content parts, texts are used, and anything else (an image, a sound) becomes its name in
brackets. A tool call is written as `<tool_call>name {"its": "arguments"}</tool_call>` after the message's text; a
model that was trained on such messages answers in this form, and `split_tool_calls` reads it back. System messages,
developer messages, and the names and descriptions of tools are the instructions. The other messages are turns, of
which the latest 16 are used.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuneway_service.trainers.base import Message

RECENT = 16
"""How many of the latest turns a context keeps."""

_TOOL_CALL = re.compile(
    r"<tool_call>\s*(?:(?P<name>[^\s{]+) (?P<arguments>.*?)|(?P<json>\{.*?\}))\s*</tool_call>", re.DOTALL
)


@dataclass(frozen=True)
class Turn:
    """One message: a role and a text."""

    role: str
    text: str


@dataclass(frozen=True)
class Context:
    """Everything that an answer depends on."""

    instructions: str
    turns: tuple[Turn, ...]

    @property
    def size(self) -> int:
        """The length in bytes."""
        return sum(len(encoded(text)) for text in (self.instructions, *(turn.text for turn in self.turns)))


@dataclass(frozen=True)
class Exchange:
    """A context, and the answer to learn for it."""

    context: Context
    answer: str


def encoded(text: str) -> bytes:
    """The text as UTF-8; single surrogates, which JSON allows, become question marks."""
    return text.encode("utf-8", "replace")


def read_context(messages: Iterable[Message], tools: Iterable[Message] | None = None) -> Context:
    """The context of the answer to these messages."""
    reader = _Reader(tools or ())
    for message in messages:
        reader.take(message)
    return reader.context()


def prompt_context(prompt: str) -> Context:
    """The context of the continuation of a prompt."""
    return Context("", (Turn("prompt", prompt),))


def messages_of(row: Message, name: str = "messages") -> list[Message]:
    """The messages in a field of a row; raises `InvalidInput` if there are none."""
    messages = row.get(name)
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        raise InvalidInput(
            f"{name} is not a list of messages",
            hint='A chat row has "messages"; a completion row has "prompt" and "completion".',
        )
    return messages


def asked_in(row: Message) -> Message:
    """The input of a preference row, which both of its answers belong to."""
    asked = row.get("input")
    if not isinstance(asked, dict):
        raise InvalidInput("the row has no input", hint='dpo needs "input" with "messages".')
    return asked


def is_learned(message: Message) -> bool:
    """Whether a message is learned: it is the assistant's, and its `weight` isn't 0."""
    return message.get("role") == "assistant" and message.get("weight") != 0


def exchanges(row: Message) -> Iterator[Exchange]:
    """The answers to learn from a supervised row, with their contexts."""
    if "prompt" in row and "completion" in row:
        yield Exchange(prompt_context(_content(row["prompt"])), _content(row["completion"]))
        return
    reader = _Reader(_tools(row))
    for message in messages_of(row):
        if is_learned(message):
            yield Exchange(reader.context(), message_text(message))
        reader.take(message)


def preference(row: Message) -> tuple[Exchange, Exchange]:
    """The preferred answer of a preference row, and the other one."""
    asked = asked_in(row)
    context = read_context(messages_of(asked), _tools(asked))
    preferred, other = (
        Exchange(context, message_text(messages_of(row, name)[-1]))
        for name in ("preferred_output", "non_preferred_output")
    )
    return preferred, other


def message_text(message: Message) -> str:
    """A message's text, including its tool calls."""
    text = _content(message.get("content") or message.get("refusal"))
    calls = [call.get("function") for call in _dicts(message.get("tool_calls"))]
    if message.get("function_call"):  # the deprecated spelling
        calls.append(message["function_call"])
    return text + "".join(
        f"<tool_call>{call.get('name')} {call.get('arguments')}</tool_call>" for call in _dicts(calls)
    )


def split_tool_calls(text: str) -> tuple[str, list[dict[str, str]]]:
    """An answer's text without its tool calls, and the tool calls as `{"name", "arguments"}`.

    It also recognises the form of many language models: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
    """
    calls: list[dict[str, str]] = []

    def take(found: re.Match[str]) -> str:
        call = _read_call(found)
        if call is None:
            return found[0]
        calls.append(call)
        return ""

    return _TOOL_CALL.sub(take, text), calls


def _read_call(found: re.Match[str]) -> dict[str, str] | None:
    if found["name"]:
        return {"name": found["name"], "arguments": found["arguments"]}
    try:
        read = json.loads(found["json"])
        return {"name": str(read["name"]), "arguments": json.dumps(read.get("arguments") or {}, ensure_ascii=False)}
    except (ValueError, KeyError):
        return None


class _Reader:
    """Takes messages one by one, so that a long conversation with many answers is read once."""

    def __init__(self, tools: Iterable[Message]) -> None:
        self._instructions = [_describe(tool) for tool in tools]
        self._turns: deque[Turn] = deque(maxlen=RECENT)

    def take(self, message: Message) -> None:
        text = message_text(message)
        if message.get("role") in ("system", "developer"):
            self._instructions.append(text)
        else:
            self._turns.append(Turn(str(message.get("role")), text))

    def context(self) -> Context:
        return Context("\n".join(self._instructions), tuple(self._turns))


def _tools(row: Message) -> list[dict[str, Any]]:
    return [*_dicts(row.get("tools")), *_dicts(row.get("functions"))]


def _dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _describe(tool: Message) -> str:
    function = tool.get("function") or tool
    return f"{function.get('name')}: {function.get('description') or ''}"


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(
            part["text"] if isinstance(part.get("text"), str) else f"[{part.get('type', 'part')}]"
            for part in _dicts(content)
        )
    return content if isinstance(content, str) else ""
