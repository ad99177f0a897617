"""The fast path: separate the plain, valid rows of a chunk from those that need a full check.

Most rows of most files are plain: they contain only text messages. They are parsed once, by pydantic's parser in Rust,
and checked with few steps of Python. This module reports nothing: a row that isn't plain, for whatever reason, gets
the full check.
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
    """Find the rows that need a full check; gives their places in the chunk. The others are added to `keep`, if given.

    The parser silently drops one of two equal keys. Only with `strict` do rows with such keys get a full check.
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
    """Whether a line may have more strings than its parsed row. A string has two quotes, and those in its text."""
    quotes = line.count(b'"') - 2 * strings
    if quotes:
        quotes -= sum(text.count('"') for row in objects for text in row.values())
        return bool(quotes) or b"\\u0022" in line
    return False


_SIFTERS: dict[Format | None, Sifter] = {"chat": _sift_chat, "completions": _sift_completions}
