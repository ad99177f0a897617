"""The fast path: separate the plain, valid rows of a chunk from those that need a full check.

Most rows of most files are plain: they contain only text messages. Most of these are written as programs write them,
and one regular expression says that such a line is a plain row, without parsing it: Rust's engine reads each byte once.
The others are parsed once, by pydantic's parser in Rust, and checked with few steps of Python. This module reports
nothing: a row that isn't plain, for whatever reason, gets the full check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaValidator, from_json
from pydantic_core.core_schema import str_schema

from tuneway.data import chat_texts

if TYPE_CHECKING:
    from tuneway.dataset._report import Format

Row = dict[str, Any]
_LONG = 3 * 2**10  # of longer lines, most is text, which the parser skips faster than the expression

Texts = list[str]
Parser = Callable[[bytes, bool], Texts | None]

_HEX = "[0-9a-fA-F]"
_PAIR = rf"[89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}"  # the rest of a character that has two escapes
_CODE = rf"(?:[0-9a-ce-fA-CE-F]{_HEX}{{3}}|[dD](?:[0-7]{_HEX}{{2}}|{_PAIR}))"
_TEXT = rf'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u{_CODE}))*"'


def _message(roles: str) -> str:
    return rf'\{{"role": ?"(?:{roles})", ?"content": ?{_TEXT}\}}'


_ASKING = "user|system|developer"
_CHAT = (
    rf'\{{"messages": ?\[(?:{_message(_ASKING)}, ?)*{_message("assistant")}'
    rf"(?:, ?{_message(f'{_ASKING}|assistant')})*\]\}}"
)
_COMPLETION = rf'\{{"prompt": ?{_TEXT}, ?"completion": ?{_TEXT}\}}'


def _matcher(pattern: str) -> Callable[[bytes], bool]:
    """A test of a whole line. It says no also if the line isn't UTF-8."""
    whole = rf"\A{pattern}\r?\n?\z"
    return SchemaValidator(str_schema(pattern=whole, regex_engine="rust-regex")).isinstance_python


def sift(lines: list[bytes], format_: Format | None, keep: list[Texts] | None, *, strict: bool) -> Sequence[int]:
    """Find the rows that need a full check; gives their places in the chunk.

    The texts of each other row are added to `keep`, if given. The parser silently drops one of two equal keys. Only
    with `strict` do rows with such keys get a full check.
    """
    parser = _PARSERS.get(format_)
    if parser is None:
        return range(len(lines))
    parsed = keep is not None or sum(map(len, lines)) > _LONG * len(lines)
    others: list[int] = []
    for place, plain in enumerate(repeat(False, len(lines)) if parsed else map(_MATCHERS[format_], lines)):
        if plain:
            continue
        texts = parser(lines[place], strict)
        if texts is None:
            others.append(place)
        elif keep is not None:
            keep.append(texts)
    return others


def _chat(line: bytes, strict: bool) -> Texts | None:  # noqa: FBT001  # called for each line
    try:
        row: Row = from_json(line, cache_strings="keys")
        messages = row["messages"]
    except (ValueError, LookupError, TypeError):
        return None
    texts = chat_texts(messages) if len(row) == 1 else None
    return None if texts is None or (strict and _has_more(line, 4 * len(texts) + 1, messages)) else texts


def _completion(line: bytes, strict: bool) -> Texts | None:  # noqa: FBT001  # called for each line
    try:
        row: Row = from_json(line, cache_strings="keys")
        texts = type(row["prompt"]) is str is type(row["completion"])
        if texts and len(row) == 2 and not (strict and _has_more(line, 4, [row])):
            return [*row.values()]
    except (ValueError, LookupError, TypeError):
        pass
    return None


def _has_more(line: bytes, strings: int, objects: list[Row]) -> bool:
    """Whether a line may have more strings than its parsed row. A string has two quotes, and those in its text."""
    quotes = line.count(b'"') - 2 * strings
    if quotes:
        quotes -= sum(text.count('"') for row in objects for text in row.values())
        return bool(quotes) or b"\\u0022" in line
    return False


_PARSERS: dict[Format | None, Parser] = {"chat": _chat, "completions": _completion}
_MATCHERS: dict[Format | None, Callable[[bytes], bool]] = {
    "chat": _matcher(_CHAT),
    "completions": _matcher(_COMPLETION),
}
