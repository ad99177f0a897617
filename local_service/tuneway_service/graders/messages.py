"""The messages of a grader that is a model. The API takes their content in several forms; a chat takes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

ROLES = ("user", "assistant", "system", "developer")
TEXT_TYPES = ("input_text", "output_text", "text")


def messages(given: Sequence[Mapping[str, Any]], fill: Callable[[str], str]) -> list[dict[str, Any]]:
    """The messages to ask a model with; `fill` fills each text."""
    return [{"role": message["role"], "content": _content(message["content"], fill)} for message in given]


def _content(content: Any, fill: Callable[[str], str]) -> str | list[dict[str, str]]:
    if isinstance(content, str):
        return fill(content)
    return [{"type": "text", "text": fill(_part_text(part))} for part in _parts(content)]


def texts(given: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Give each text in messages that have no `problems`, after the place where it stands."""
    for number, message in enumerate(given):
        for part in _parts(message["content"]):
            yield f"{number}.content", _part_text(part)


def problems(given: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What a model can't be asked with: the place, and the message."""
    for number, message in enumerate(given):
        if message.get("role") not in ROLES:
            yield f"{number}.role", f"it must be one of {', '.join(ROLES)}"
        content = message.get("content")
        if not isinstance(content, str | dict | list) or content == []:
            yield f"{number}.content", "it must be a text, a part, or a list of parts"
            continue
        for place, part in enumerate(_parts(content)):
            where = f"{number}.content.{place}" if isinstance(content, list) else f"{number}.content"
            yield from ((where, text) for text in _part_problems(part))


def _part_problems(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        return
    if not isinstance(part, dict):
        yield "a part must be a text or an object"
    elif part.get("type") not in TEXT_TYPES:
        yield f"models that grade here read text only: the type must be {' or '.join(TEXT_TYPES[:2])}"
    elif not isinstance(part.get("text"), str):
        yield "the part needs a text"


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _part_text(part: Any) -> str:
    text: str = part if isinstance(part, str) else part["text"]
    return text
