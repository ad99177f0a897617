"""The examples of a file of rows; as many as fit into a limited memory are kept, the others are made when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway_service.trainers.bytewise.features import END
from tuneway_service.trainers.bytewise.objectives import LONGEST
from tuneway_service.trainers.cut_rows import CutRows
from tuneway_service.trainers.rows import Row, Rows, nothing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tuneway_service.trainers.bytewise.weights import BytesExample

_KEPT_BYTES = 64 << 20


class BytesDataset:
    """The examples to learn, by row; rows without any are left out.

    Args:
        path: The rows, as JSONL.
        read: Makes the examples of a row.
    """

    def __init__(self, path: Path, read: Callable[[Mapping[str, Any]], list[BytesExample]]) -> None:
        self.symbols: set[int] = set()
        self._read = read
        self._kept: list[list[BytesExample]] = []
        self._room = _KEPT_BYTES
        self.cut = CutRows(path.name, f"answers longer than {LONGEST:,} bytes", "Shorten the answers.")
        self._rows = Rows(path, self._survey)
        if not self._rows:
            raise nothing_in(path, self.cut)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> list[BytesExample]:
        return self._kept[index] if index < len(self._kept) else self._read(self._rows[index])

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        return self._rows.sha256

    def _survey(self, row: Row, line: int) -> bool:
        examples = self._read(row)
        if any(example.symbols[-1] != END for example in examples):
            self.cut.add(line, left=True)
        for example in examples:
            self.symbols.update(example.symbols.tolist())
        size = sum(example.symbols.nbytes + example.cues.hashes.nbytes + 1000 for example in examples)
        if examples and size <= self._room:
            self._kept.append(examples)
            self._room -= size
        elif examples:
            self._room = 0  # only the first rows are kept: stop here
        return bool(examples)
