"""Read a line that the fast path didn't take, and report exactly what is wrong with it."""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import TYPE_CHECKING, Any

from tuneway._escape import FEW, Words, excerpt
from tuneway.dataset._blocks import TOO_LONG
from tuneway.dataset._rules import MAX_DEPTH

if TYPE_CHECKING:
    from tuneway.dataset._findings import OnProblem

_DIGITS = 20  # a number with more digits doesn't fit in 64 bits; int() refuses thousands of them
_TOO_DEEP = Words(f"more than {MAX_DEPTH} levels")


class RowReader:
    """Parses lines, and reports why a line isn't a row."""

    def __init__(self, report: OnProblem) -> None:
        self._report = report
        self._loaders = {strict: _Loader(strict=strict) for strict in (False, True)}

    def read(self, line: bytes, *, offset: int, strict: bool) -> dict[str, Any] | None:
        """Parse a line into an object; None if that fails, after the reason was reported.

        `strict` also reports keys that an object has twice.
        """
        if line is TOO_LONG:
            self._report("jsonl.line_too_long", None, Words("a line beyond the limit"))
        elif not line.strip():
            self._report("jsonl.blank_line", None, Words("a blank line"))
        elif (text := self._decode(line, offset)) is not None:
            return self._object(text, self._loaders[strict], whole=line.endswith(b"\n"))
        return None

    def _decode(self, line: bytes, offset: int) -> str | None:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and not line.endswith(b"\n"):
                self._report("jsonl.truncated", None, Words("half a character at the end of the file"))
            else:
                place = f"byte 0x{line[error.start]:02x} at offset {offset + error.start}"
                self._report("file.encoding", None, Words(place))
        return None

    def _object(self, text: str, loader: _Loader, *, whole: bool) -> dict[str, Any] | None:
        loader.notes.clear()
        try:
            row = loader.decode(text)
        except json.JSONDecodeError as error:
            rule = "jsonl.truncated" if not whole and _at_the_end(error) else "jsonl.syntax"
            near = excerpt(text[error.pos : error.pos + FEW]) if error.pos < len(text.rstrip()) else "the end"
            found = Words(f"{error.msg[0].lower()}{error.msg[1:]} near {near}")
            self._report(rule, f"column {error.pos + 1}", found)
            return None
        except RecursionError:
            self._report("jsonl.depth", None, _TOO_DEEP)
            return None
        for rule, note in loader.notes:
            self._report(rule, None, Words(note))
        if not isinstance(row, dict):
            self._report("jsonl.not_object", None, row)
            return None
        if text.count("[") + text.count("{") > MAX_DEPTH and _depth(row) > MAX_DEPTH:
            self._report("jsonl.depth", None, _TOO_DEEP)
            return None
        if "\\u" in text and (half := _lone_surrogate(row)):
            self._report("jsonl.lone_surrogate", None, Words(half))
        return row


class _Loader(json.JSONDecoder):
    """The standard parser, which also collects what it accepts silently."""

    def __init__(self, *, strict: bool) -> None:
        super().__init__(
            object_pairs_hook=self._object if strict else None,
            parse_constant=self._constant,
            parse_int=self._int,
            parse_float=self._float,
        )
        self.notes: list[tuple[str, str]] = []

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            self.notes += [
                ("jsonl.duplicate_key", f"{excerpt(name)} {names.count(name)} times")
                for name in made
                if names.count(name) > 1
            ]
        return made

    def _constant(self, name: str) -> None:
        self.notes.append(("jsonl.nan", name))

    def _int(self, digits: str) -> int | float:
        value = int(digits) if len(digits) <= _DIGITS else math.inf
        if not -(2**63) <= value < 2**64:
            self.notes.append(("jsonl.number", f"an integer of {len(digits.lstrip('-'))} digits"))
        return value

    def _float(self, digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            self.notes.append(("jsonl.number", excerpt(Words(digits[:FEW]))))
        return value


def _at_the_end(error: json.JSONDecodeError) -> bool:
    """Whether the text ended too early: in a string, an escape, a word such as `tru`, or between two values."""
    if error.msg.startswith("Extra data"):
        return False
    return "string" in error.msg or "escape" in error.msg or len(error.doc) - error.pos <= len("fals")


def _depth(row: dict[str, Any]) -> int:
    """Count the levels of nesting, without recursion."""
    depth = 0
    level: list[dict[str, Any] | list[Any]] = [row]
    while level and depth <= MAX_DEPTH:
        depth += 1
        children = [value.values() if isinstance(value, dict) else value for value in level]
        level = [child for child in chain.from_iterable(children) if isinstance(child, dict | list)]
    return depth


def _lone_surrogate(row: dict[str, Any]) -> str | None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"half a character, \\u{ord(error.object[error.start]):04x}"
    return None
