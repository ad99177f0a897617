"""Write rows as JSON lines: the same rows always give the same bytes, wherever they come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from tuneway.data._values import object_of

_DUMPS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SOME = 2**17


def encode(row: Mapping[str, Any]) -> bytes:
    """Write a row as one line of compact UTF-8.

    Fields that are null or NaN are left out at every level, and whole floats are written as integers: columns and
    structs of frames have them where the row itself had none.

    Raises:
        NotJson: A value can't be written as JSON.
    """
    made = row if _is_text(row) else object_of(row)
    try:
        return to_json(made) + b"\n"
    except ValueError:  # half a character: written as its escape, which the check of the data finds
        return _DUMPS(made).encode("utf-8", "backslashreplace") + b"\n"


def encode_some(rows: Iterator[Mapping[str, Any]], lines: WrittenLines) -> None:
    """Write the next rows as lines, about 128 KiB of them, and note whether all of them are plain chats."""
    plain, size = True, 0
    for row in rows:
        if plain and type(row) is dict and len(row) == 1 and is_plain_chat(row.get("messages")):
            try:
                line = to_json(row) + b"\n"
            except ValueError:  # half a character
                plain, line = False, encode(row)
        else:
            plain, line = False, encode(row)
        lines.append(line)
        size += len(line)
        if size >= _SOME:
            break
    lines.plain_chats = plain


class WrittenLines(list[bytes]):
    """Some lines, and what is known of them already."""

    plain_chats = False


_IS_ANSWER = {"assistant": True, "user": False, "system": False, "developer": False}
ROLES = _IS_ANSWER.keys()
"""The roles of plain chats."""


def is_plain_chat(messages: Any) -> bool:
    """Whether each message has only a role and a text, and at least one has the role `assistant`."""
    if type(messages) is not list:
        return False
    answers = 0
    try:
        for message in messages:
            answers += _IS_ANSWER[message["role"]]
            if type(message["content"]) is not str or len(message) != 2 or type(message) is not dict:
                return False
    except (LookupError, TypeError):
        return False
    return answers > 0


def chat_texts(messages: Any) -> list[str] | None:
    """The texts of the messages if `is_plain_chat` is true, else None. One function for both takes less time."""
    if type(messages) is not list:
        return None
    texts: list[str] = []
    answers = 0
    try:
        for message in messages:
            text = message["content"]
            answers += _IS_ANSWER[message["role"]]
            if type(text) is not str or len(message) != 2 or type(message) is not dict:
                return None
            texts.append(text)
    except (LookupError, TypeError):
        return None
    return texts if answers else None


def _is_text(row: Any) -> bool:
    """Whether a row is made of text alone, as most are: then nothing has to be left out or converted."""
    if type(row) is not dict:
        return False
    for key, value in row.items():
        if type(value) is list:
            for item in value:
                if type(item) is not dict:
                    return False
                for name, text in item.items():
                    if type(text) is not str or type(name) is not str:
                        return False
        elif type(value) is not str:
            return False
        if type(key) is not str:
            return False
    return True
