"""The lessons of a file of rows, made once and kept as far as a modest memory goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway_service.trainers.rows import Row, Rows, nothing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tuneway_service.trainers.bytewise.weights import Lesson

_KEPT_BYTES = 64 << 20


class BytesDataset:
    """What there is to learn, by row; rows without anything to learn are left out.

    Args:
        path: The rows, as JSONL.
        read: Makes the lessons of a row.
    """

    def __init__(self, path: Path, read: Callable[[Mapping[str, Any]], list[Lesson]]) -> None:
        self.symbols: set[int] = set()
        self._read = read
        self._kept: list[list[Lesson]] = []
        self._room = _KEPT_BYTES
        self._rows = Rows(path, self._survey)
        if not self._rows:
            raise nothing_in(path)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> list[Lesson]:
        return self._kept[index] if index < len(self._kept) else self._read(self._rows[index])

    @property
    def sha256(self) -> str:
        """The file's hash."""
        return self._rows.sha256

    def _survey(self, row: Row) -> bool:
        lessons = self._read(row)
        for lesson in lessons:
            self.symbols.update(lesson.symbols.tolist())
        size = sum(lesson.symbols.nbytes + lesson.cues.hashes.nbytes + 1000 for lesson in lessons)
        if lessons and size <= self._room:
            self._kept.append(lessons)
            self._room -= size
        elif lessons:
            self._room = 0  # the kept ones are the first ones
        return bool(lessons)
