"""Write rows as JSON lines: the same rows always give the same bytes, wherever they come from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic_core import to_json

_DUMPS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SOME = 2**17
_KEPT = (str, bool, int)


class NotJson(ValueError):
    """A value that JSON doesn't have. Its text says where it stands, and its type, but never the value."""


def encode(row: Mapping[str, Any]) -> bytes:
    """Write a row as one line of compact UTF-8.

    Fields that are null or NaN are left out at every level, and whole floats are written as integers: columns and
    structs of frames have them where the row itself had none.

    Raises:
        NotJson: A value can't be written as JSON.
    """
    made = row if _is_text(row) else _object(row, "")
    try:
        return to_json(made, inf_nan_mode="constants") + b"\n"
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


def plain(value: Any, where: str = "") -> Any:
    """Make a value one of JSON's: frames bring their own kinds of numbers, lists and times."""
    kind = type(value)
    if kind in _KEPT or value is None:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return _object(value, where)
    if kind is list or kind is tuple:
        return [
            None if is_null(item) else item if type(item) is str else plain(item, f"{where}[{place}]")
            for place, item in enumerate(value)
        ]
    return _converted(value, where)


def is_null(value: Any) -> bool:
    """Whether a value stands for nothing: null, NaN, or what pandas has for them."""
    if value is None:
        return True
    kind = type(value)
    if kind in _KEPT or kind is dict or kind is list:
        return False
    if kind is float:
        return math.isnan(value)
    if kind.__name__ in ("NAType", "NaTType"):
        return True
    return hasattr(value, "item") and not getattr(value, "shape", ()) and bool(value != value)  # noqa: PLR0124  # NaN


def _object(row: Mapping[Any, Any], where: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in row.items():
        if type(value) is str:  # most are
            made[key] = value
        elif not is_null(value):
            made[key] = plain(value, f"{where}.{key}" if where else str(key))
    if any(type(key) is not str for key in made):
        raise NotJson(f"{where or 'the row'} has keys that aren't text")
    return made


def _converted(value: Any, where: str) -> Any:
    match value:
        case str() | bool() | int():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes() | bytearray() | memoryview():
            raise NotJson(f"{where} is bytes; give text, for example base64")
        case Sequence():
            return plain(list(value), where)
    for method in ("model_dump", "tolist", "item"):  # a pydantic model; an array and a number of numpy
        found = getattr(value, method, None)
        if callable(found):
            return plain(found(mode="json") if method == "model_dump" else found(), where)
    raise NotJson(f"{where} is a {type(value).__name__}, which JSON doesn't have")
