"""One stream of JSON lines from whatever data was given, and where each line came from."""

from __future__ import annotations

import io
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic_core import from_json

from tuneway.choices import Order, check_word
from tuneway.data._encoding import WrittenLines, encode
from tuneway.data._frames import FrameRows
from tuneway.data._local import open_file
from tuneway.data._order import Numbered, by_content
from tuneway.data._rows import lines_of
from tuneway.data._sources import LocalLines, RemoteLines, opened
from tuneway.data._split import is_held_out
from tuneway.data._spool import Spool
from tuneway.data._stores import reader_of
from tuneway.data._template import RowTemplate
from tuneway.data._values import NotJson
from tuneway.errors import InvalidSpec

Unit = Literal["line", "row"]

_BOM = b"\xef\xbb\xbf"


class Readable(Protocol):
    """What gives bytes, block by block."""

    def read(self, size: int, /) -> bytes | None:
        """Give at most `size` bytes; none at the end."""


@dataclass(frozen=True, kw_only=True)
class LineStream:
    """Lines to be read once.

    Args:
        name: What the data is called in messages.
        unit: What the numbers count: lines of a file from 1, or rows from 0.
        raw: Gives the bytes.
        size: How many bytes it will give, if that is known.
        path: The file, if it is read in place; else what is read has to be kept.
        numbers: Gives the numbers of the next lines, where they don't simply go up.
        is_file: Whether the name is that of a file.
    """

    name: str
    unit: Unit = "line"
    raw: Readable
    size: int | None = None
    path: Path | None = None
    numbers: Callable[[int], Sequence[int]] | None = None
    is_file: bool = True

    @property
    def first(self) -> int:
        """The number of the first line or row."""
        return 1 if self.unit == "line" else 0


@dataclass(kw_only=True)
class HeldOut:
    """The rows that are split off as validation data, while the others are read.

    Args:
        share: The share of the rows, between 0 and 1.
    """

    share: float
    spool: Spool = field(default_factory=Spool)
    name: str = ""
    unit: Unit = "line"
    _numbers: array[int] = field(default_factory=lambda: array("q"))

    def take(self, lines: Iterable[Numbered]) -> Iterator[Numbered]:
        """Keep the lines that are held out; give the others."""
        for number, line in lines:
            if is_held_out(line, self.share):
                self._numbers.append(number)
                self.spool.write(line)
            else:
                yield number, line

    def stream(self) -> LineStream:
        """The lines that were held out. Call it after all others are read."""
        numbers = iter(self._numbers)
        return LineStream(
            name=self.name,
            unit=self.unit,
            raw=self.spool.open(),
            size=self.spool.size,
            numbers=lambda count: list(islice(numbers, count)),
        )


@contextmanager
def stream_of(
    data: Any,
    *,
    field: str,
    row: Mapping[str, str] | None = None,
    order: Order = "given",
    held_out: HeldOut | None = None,
) -> Iterator[LineStream]:
    """Open data as one stream of JSON lines.

    Args:
        data: What was given.
        field: The name of the argument, for errors.
        row: How each row is made of the columns.
        order: "content" sorts the lines by their hash.
        held_out: Where the rows go that are validation data.

    Raises:
        InvalidSpec: The data can't be read, or lacks columns.
    """
    template = RowTemplate(row) if row is not None else None
    check_word(order, Order, field="order")
    with opened(data, field=field) as found:
        rewritten = template is not None or order == "content" or held_out is not None
        if isinstance(found, LocalLines):
            if not rewritten:
                yield LineStream(name=found.path, raw=io.BytesIO(), path=Path(found.path))
                return
            with open_file(found.path, field=field) as raw, reader_of(raw) as file:
                yield _numbered(_lines(file, template, found.path), found.path, "line", order, held_out)
        elif isinstance(found, RemoteLines):
            if not rewritten:
                yield LineStream(name=found.name, raw=found.file, size=found.size)
            else:
                lines = _lines(reader_of(found.file), template, found.name)
                yield _numbered(lines, found.name, "line", order, held_out)
        else:
            yield _of_frame(found, template, field, order, held_out)


def _of_frame(
    frame: FrameRows, template: RowTemplate | None, field: str, order: Order, held_out: HeldOut | None
) -> LineStream:
    lines = lines_of(frame, template, field=field)
    if order == "content" or held_out is not None:
        stream = _numbered(enumerate(chain.from_iterable(lines)), frame.name, "row", order, held_out)
        return replace(stream, is_file=frame.is_file)
    return LineStream(name=frame.name, unit="row", raw=LineBlocks(lines, clean=True), is_file=frame.is_file)


def _numbered(lines: Iterator[Numbered], name: str, unit: Unit, order: Order, held_out: HeldOut | None) -> LineStream:
    if order == "content":
        lines = by_content(lines)
    if held_out is not None:
        held_out.name, held_out.unit = name, unit
        lines = held_out.take(lines)
    waiting: deque[int] = deque()

    def noting() -> Iterator[WrittenLines]:
        for number, line in lines:
            waiting.append(number)
            yield WrittenLines((line,))

    return LineStream(
        name=name,
        unit=unit,
        raw=LineBlocks(noting()),
        numbers=lambda count: [waiting.popleft() for _ in range(count)],
    )


def _lines(file: Iterable[bytes], template: RowTemplate | None, name: str) -> Iterator[Numbered]:
    """The lines of a JSONL file, without blank ones. By a template, rows are made of their fields."""
    checked = False
    for number, line in enumerate(file, 1):
        text = line.removeprefix(_BOM) if number == 1 else line
        text = text.rstrip(b"\r\n") + b"\n"
        if text == b"\n":
            continue
        if template is not None:
            columns = _columns(text)
            if columns is not None:
                if not checked:
                    template.check(list(columns), name)
                    checked = True
                text = _made(template, columns, f"{name}:{number}")
        yield number, text


def _made(template: RowTemplate, columns: Mapping[str, object], place: str) -> bytes:
    try:
        return encode(template(columns))
    except NotJson as error:
        raise InvalidSpec(f"{place}: {error}", field="row", hint=error.hint) from None


def _columns(line: bytes) -> dict[str, object] | None:
    try:
        row = from_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


class LineBlocks:
    """Gives lines as blocks of bytes, or as they are.

    Args:
        lines: The lines, some at a time.
        clean: Whether we wrote all of them, so that none starts with a byte order mark or has a carriage return.
    """

    def __init__(self, lines: Iterator[WrittenLines], *, clean: bool = False) -> None:
        self.clean = clean
        self.lines = lines
        self._parts: list[bytes] = []
        self._size = 0

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes; fewer only at the end."""
        parts, have = self._parts, self._size
        for lines in self.lines:
            parts += lines
            have += sum(map(len, lines))
            if have >= size:
                break
        data = b"".join(parts)
        rest = data[size:]
        self._parts, self._size = ([rest] if rest else []), len(rest)
        return data[:size]
