"""Rows as tokens, in files that are mapped into memory: written once for a job, read by each of its processes.

A folder has the tokens of all examples one after another, which of them are learned, the length of each example, and
how many examples each row has. `index.json` is written last. It says what the tokens were made from and has the sums
of the other files: a folder of other rows, another tokenizer or another version is not read, nor a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from array import array
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from tuneway_service.trainers.hf.tokens import UNLEARNED, Example

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = 1
"""Increases when the files change."""

INDEX = "index.json"
FILES = {"ids": np.intc, "learned": np.uint8, "examples": np.int64, "rows": np.int64}
"""The files and what they consist of. `examples` has the size of each one and the tokens that it lost; `rows` has the
number of examples of each row and its position in the JSONL file."""

_PAIR = struct.Struct("=qq")


@dataclass
class Cut:
    """The lines whose rows are too long: with something left to learn, and without."""

    shortened: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)


class RowsPart:
    """Some rows on their way into files, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.cut = Cut()
        self._open = ExitStack()
        self._files: dict[str, BinaryIO] = {
            name: self._open.enter_context((folder / name).open("wb")) for name in FILES
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, line: int, start: int, examples: Sequence[Example], kept: Sequence[Example]) -> None:
        """Add a row: its line, its position, its examples, and those of them that are kept."""
        if any(example.lost for example in examples):
            (self.cut.shortened if kept else self.cut.left_out).append(line)
        if not kept:
            return
        self._files["rows"].write(_PAIR.pack(len(kept), start))
        for example in kept:
            self._files["examples"].write(_PAIR.pack(len(example), example.lost))
            self._files["ids"].write(example.ids.tobytes())
            self._files["learned"].write((np.frombuffer(example.labels, np.intc) != UNLEARNED).tobytes())

    def add_part(self, folder: Path, cut: Cut) -> None:
        """Add all rows of another part, after those that are here."""
        for name, file in self._files.items():
            with (folder / name).open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
        self.cut.shortened += cut.shortened
        self.cut.left_out += cut.left_out

    def finish(self, key: str, sha256: str) -> None:
        """Complete the folder: write what it was made from."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        sums = {name: _sum(self.folder / name) for name in FILES}
        index = {"format": FORMAT, "key": key, "sha256": sha256, "sums": sums, "cut": vars(self.cut)}
        (self.folder / INDEX).write_text(json.dumps(index))


class PreparedRows:
    """The examples of rows, in a folder that `RowsPart.finish` completed.

    `longest` is the number of tokens of the longest example, `most_learned` the largest number that is learned from
    one, `most_examples` the largest number of examples in a row.

    Raises:
        ValueError: The folder was made from something else, or is damaged.
        OSError: It can't be read.
    """

    def __init__(self, folder: Path, key: str) -> None:
        index: dict[str, Any] = json.loads((folder / INDEX).read_bytes())
        if (index.get("format"), index.get("key")) != (FORMAT, key):
            raise ValueError(f"{folder.name} was made from something else")
        if index.get("sums") != {name: _sum(folder / name) for name in FILES}:
            raise ValueError(f"{folder.name} is damaged")
        self.sha256: str = index["sha256"]
        self.cut = Cut(**index["cut"])
        rows, examples = _pairs(folder / "rows"), _pairs(folder / "examples")
        self._ids, self._learned = _mapped(folder / "ids"), _mapped(folder / "learned")
        self._row_ends = np.cumsum(rows[:, 0])
        self._positions = rows[:, 1].copy()
        self._ends = np.cumsum(examples[:, 0])
        self._lost = examples[:, 1].copy()
        self.longest = int(examples[:, 0].max(initial=0))
        starts = (self._ends - examples[:, 0])[examples[:, 0] > 0]
        found = np.add.reduceat(self._learned, starts, dtype=np.int64) if len(starts) else starts
        self.most_learned = int(found.max(initial=0))
        self.most_examples = int(rows[:, 0].max(initial=0))

    def __len__(self) -> int:
        return len(self._positions)

    def position(self, row: int) -> int:
        """Where the row is in its JSONL file."""
        return int(self._positions[row])

    def examples(self, row: int) -> list[Example]:
        """The examples of a row."""
        end = int(self._row_ends[row])
        start = int(self._row_ends[row - 1]) if row else 0
        return [self._example(number) for number in range(start, end)]

    def _example(self, number: int) -> Example:
        start, end = int(self._ends[number - 1]) if number else 0, int(self._ends[number])
        ids, learned = self._ids[start:end], self._learned[start:end]
        labels = np.where(learned, ids, np.intc(UNLEARNED))
        return Example(array("i", ids.tobytes()), array("i", labels.tobytes()), int(self._lost[number]))


def _pairs(path: Path) -> NDArray[Any]:
    return np.fromfile(path, np.int64).reshape(-1, 2)


def _mapped(path: Path) -> NDArray[Any]:
    kind = FILES[path.name]
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(facts: Iterable[Any]) -> str:
    """A word that differs when any of these facts does."""
    return hashlib.sha256(json.dumps(list(facts), sort_keys=True).encode()).hexdigest()
