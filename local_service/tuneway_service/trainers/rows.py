"""The rows of a JSONL file, read when they are needed. Memory holds only the position of each row."""

from __future__ import annotations

import hashlib
import json
from array import array
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable
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
        try:
            with self.path.open("rb") as file:
                file.seek(self._starts[index])
                row: Row = json.loads(file.readline())
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error
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
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"line {number}: not JSON ({error})", hint="Put one JSON object on each line.") from None
    if not isinstance(row, dict):
        raise InvalidInput(f"line {number}: not a JSON object", hint="Put one JSON object on each line.")
    try:
        return accept(row, number)
    except InvalidInput as error:
        raise InvalidInput(f"line {number}: {error.message}", hint=error.hint) from None


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"{path.name} can't be read: {error}",
        hint="The file must be there, unchanged, until the training ends.",
    )
