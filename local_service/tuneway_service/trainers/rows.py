"""The rows of a JSONL file, read when they are needed. Memory holds only the position of each row."""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuneway_service.trainers.cut_rows import CutRows

Row = dict[str, Any]


class Rows:
    """The rows of a file that `accept` returns True for, by number, in any order.

    The whole file is read once at the start; `accept` sees every row then, and may keep data about it.

    Args:
        path: A JSONL file that doesn't change meanwhile. Empty lines are skipped.
        accept: Whether a row counts, which has this line number. If it raises `InvalidInput`, the number is added.
    """

    def __init__(self, path: Path, accept: Callable[[Row, int], bool]) -> None:
        self.path = path
        self._starts = array("Q")
        digest = hashlib.sha256()
        start = 0
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    digest.update(line)
                    if line.strip() and accept_line(line, number, accept):
                        self._starts.append(start)
                    start += len(line)
        except OSError as error:
            raise _unreadable(path, error) from error
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:
        return row_at(self.path, self._starts[index])


@dataclass(frozen=True)
class LineChunk:
    """Some lines of a file that follow each other.

    Args:
        start: The position of the first one.
        end: The position after the last one.
        line: The number of the first one.
        rows: How many of them aren't empty.
    """

    start: int
    end: int
    line: int
    rows: int


def chunks_of(path: Path, size: int) -> tuple[list[LineChunk], str]:
    """A file in chunks of about `size` bytes, and its SHA-256; it is read once, and not kept in memory."""
    found = []
    digest = hashlib.sha256()
    start = end = rows = 0
    first = line = 1
    try:
        with path.open("rb") as file:
            for content in file:
                digest.update(content)
                end += len(content)
                line += 1
                rows += bool(content.strip())
                if end - start >= size:
                    found.append(LineChunk(start, end, first, rows))
                    start, first, rows = end, line, 0
    except OSError as error:
        raise _unreadable(path, error) from error
    if end > start:
        found.append(LineChunk(start, end, first, rows))
    return found, digest.hexdigest()


def lines_of(path: Path, chunk: LineChunk) -> Iterator[tuple[int, int, bytes]]:
    """The lines of a chunk that aren't empty, each after its position and its number."""
    start = chunk.start
    with path.open("rb") as file:
        file.seek(start)
        for number, line in enumerate(file, chunk.line):
            if start >= chunk.end:
                return
            if line.strip():
                yield start, number, line
            start += len(line)


def row_at(path: Path, start: int) -> Row:
    """The row at a position that `lines_of` told."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            row: Row = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return row


def nothing_in(path: Path, cut: CutRows) -> InvalidInput:
    """The error for a file without anything to learn."""
    if cut.left_out:
        return InvalidInput(f"{path.name} has no answer to learn: it has only {cut.what}", hint=cut.hint)
    return InvalidInput(
        f"{path.name} has no answer to learn", hint="At least one assistant message must have weight 1."
    )


def accept_line(line: bytes, number: int, accept: Callable[[Row, int], bool]) -> bool:
    """Whether `accept` takes the row on this line; errors get the line's number."""
    row = read_line(line, number)
    try:
        return accept(row, number)
    except InvalidInput as error:
        raise on_line(number, error) from None


def read_line(line: bytes, number: int) -> Row:
    """The row on this line; errors get the line's number."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"line {number}: not JSON ({error})", hint="Put one JSON object on each line.") from None
    if not isinstance(row, dict):
        raise InvalidInput(f"line {number}: not a JSON object", hint="Put one JSON object on each line.")
    return row


def on_line(number: int, error: InvalidInput) -> InvalidInput:
    """The error of a row, with the number of its line."""
    return InvalidInput(f"line {number}: {error.message}", hint=error.hint)


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"{path.name} can't be read: {error}",
        hint="The file must be there, unchanged, until the training ends.",
    )
