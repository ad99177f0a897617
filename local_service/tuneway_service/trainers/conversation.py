"""Conversations as plain text: how a small model sees messages, tools and tool calls.

A message is its text; of content parts the texts count, and anything else (an image, a sound) is named in
brackets. A tool call is written `<tool_call>name {"its": "arguments"}</tool_call>` after the message's text,
so a model that learned from such messages answers in the same form, and `split_tool_calls` reads it back.
System and developer messages and the tools' names and descriptions are the instructions, apart from the
turns, of which the latest 16 count.
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
    """Who said what."""

    role: str
    text: str


@dataclass(frozen=True)
class Context:
    """All that an answer may depend on."""

    instructions: str
    turns: tuple[Turn, ...]

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return sum(len(encoded(text)) for text in (self.instructions, *(turn.text for turn in self.turns)))


@dataclass(frozen=True)
class Exchange:
    """A context and the answer to learn for it."""

    context: Context
    answer: str


def encoded(text: str) -> bytes:
    """The text as UTF-8; halves of surrogate pairs, which JSON can smuggle in, become question marks."""
    return text.encode("utf-8", "replace")


def read_context(messages: Iterable[Message], tools: Iterable[Message] | None = None) -> Context:
    """The context that these messages make for whatever is answered next."""
    reader = _Reader(tools or ())
    for message in messages:
        reader.take(message)
    return reader.context()


def prompt_context(prompt: str) -> Context:
    """The context that a bare prompt makes."""
    return Context("", (Turn("prompt", prompt),))


def messages_of(row: Message, name: str = "messages") -> list[Message]:
    """The messages of a row, or of what it holds under another name; `InvalidInput` when there are none."""
    messages = row.get(name)
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        raise InvalidInput(
            f"{name} is not a list of messages",
            hint='A chat row has "messages"; a plain one "prompt" and "completion".',
        )
    return messages


def asked_in(row: Message) -> Message:
    """What both answers of a preference row were given to."""
    asked = row.get("input")
    if not isinstance(asked, dict):
        raise InvalidInput("no input to prefer an answer for", hint='dpo needs "input" with "messages".')
    return asked


def is_learned(message: Message) -> bool:
    """Whether a message is an answer that counts: the assistant's, but for those with `weight` 0."""
    return message.get("role") == "assistant" and message.get("weight") != 0


def exchanges(row: Message) -> Iterator[Exchange]:
    """The answers that a supervised row teaches."""
    if "prompt" in row and "completion" in row:
        yield Exchange(prompt_context(_content(row["prompt"])), _content(row["completion"]))
        return
    reader = _Reader(_tools(row))
    for message in messages_of(row):
        if is_learned(message):
            yield Exchange(reader.context(), message_text(message))
        reader.take(message)


def preference(row: Message) -> tuple[Exchange, Exchange]:
    """The preferred answer and the other one of a preference row."""
    asked = asked_in(row)
    context = read_context(messages_of(asked), _tools(asked))
    preferred, other = (
        Exchange(context, message_text(messages_of(row, name)[-1]))
        for name in ("preferred_output", "non_preferred_output")
    )
    return preferred, other


def message_text(message: Message) -> str:
    """A message's text, its tool calls included."""
    text = _content(message.get("content") or message.get("refusal"))
    calls = [call.get("function") for call in _dicts(message.get("tool_calls"))]
    if message.get("function_call"):  # the deprecated spelling
        calls.append(message["function_call"])
    return text + "".join(
        f"<tool_call>{call.get('name')} {call.get('arguments')}</tool_call>" for call in _dicts(calls)
    )


def split_tool_calls(text: str) -> tuple[str, list[dict[str, str]]]:
    """An answer's text without its tool calls, and those as `{"name", "arguments"}`.

    They may also stand as many language models write them: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
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
    """Takes messages one by one, so that a conversation of thousands is read once."""

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
