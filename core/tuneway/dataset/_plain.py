"""The fast path: tell the plain, faultless rows of a chunk from those that need a careful look.

Most rows of most files are plain: text messages and nothing else. These are parsed once, by pydantic's parser
in Rust, and looked at with as few steps of Python as will do. Nothing is reported from here: a row that isn't
plain, for whatever reason, goes to the careful path, which has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import from_json

from tuneway.dataset._report import Format

Row = dict[str, Any]
Sifter = Callable[[list[bytes], list[Row] | None, bool], Sequence[int]]

_IS_ANSWER = {"assistant": True, "user": False, "system": False, "developer": False}


def sift(lines: list[bytes], format_: Format | None, keep: list[Row] | None, *, strict: bool) -> Sequence[int]:
    """Where in a chunk the rows are that need a careful look. The others go to `keep`, if given.

    A parser keeps one of two equal keys in silence, so only a `strict` look leaves rows with such keys over.
    """
    sifter = _SIFTERS.get(format_)
    return sifter(lines, keep, strict) if sifter else range(len(lines))


def _sift_chat(lines: list[bytes], keep: list[Row] | None, strict: bool) -> Sequence[int]:  # noqa: FBT001
    others: list[int] = []
    for place, line in enumerate(lines):
        try:
            row = from_json(line)
            messages = row["messages"]
            answers = 0
            for message in messages:
                answers += _IS_ANSWER[message["role"]]
                if type(message["content"]) is not str or len(message) != 2:
                    break
            else:
                if answers and len(row) == 1 and not (strict and _has_more(line, 4 * len(messages) + 1, messages)):
                    if keep is not None:
                        keep.append(row)
                    continue
        except (ValueError, LookupError, TypeError):
            pass
        others.append(place)
    return others


def _sift_completions(lines: list[bytes], keep: list[Row] | None, strict: bool) -> Sequence[int]:  # noqa: FBT001
    others: list[int] = []
    for place, line in enumerate(lines):
        try:
            row = from_json(line)
            texts = type(row["prompt"]) is str is type(row["completion"])
            if texts and len(row) == 2 and not (strict and _has_more(line, 4, [row])):
                if keep is not None:
                    keep.append(row)
                continue
        except (ValueError, LookupError, TypeError):
            pass
        others.append(place)
    return others


def _has_more(line: bytes, strings: int, objects: list[Row]) -> bool:
    """Whether a line may have more strings than its parsed row, told by its quotes: two each, and those in texts."""
    quotes = line.count(b'"') - 2 * strings
    if quotes:
        quotes -= sum(text.count('"') for row in objects for text in row.values())
        return bool(quotes) or b"\\u0022" in line
    return False


_SIFTERS: dict[Format | None, Sifter] = {"chat": _sift_chat, "completions": _sift_completions}
