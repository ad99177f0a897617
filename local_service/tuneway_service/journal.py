"""The journal: one JSON object a line, appended by the worker and read by the service from where it left off."""

from __future__ import annotations

import json
import math
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CHUNK = 1 << 20


class Journal:
    """The worker's pen. Each line is one write, so that only the last can be cut short by a kill."""

    def __init__(self, path: Path) -> None:
        # read-write: to see whether the last worker was cut off in the middle of a line
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._write(b"\n")

    def message(self, text: str, *, mark: str, level: str = "info") -> None:
        """Tell something once: the mark says whether it was told before."""
        self.add({"kind": "message", "message": text, "mark": mark, "level": level})

    def metrics(self, step: int, total_steps: int, numbers: Mapping[str, float]) -> None:
        """Tell the numbers of a step."""
        self.add({"kind": "metrics", "step": step, "total_steps": total_steps, "metrics": self._finite(step, numbers)})

    def checkpoint(self, step: int, epoch: int, numbers: Mapping[str, float]) -> None:
        """Tell that a checkpoint is in place."""
        self.add({"kind": "checkpoint", "step": step, "epoch": epoch, "metrics": self._finite(step, numbers)})

    def _finite(self, step: int, numbers: Mapping[str, float]) -> dict[str, float]:
        """The numbers that JSON can carry; that there are others is told once."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        if len(finite) < len(numbers):
            lost = ", ".join(sorted(numbers.keys() - finite.keys()))
            text = f"At step {step}, {lost} is not a finite number: the training diverged; try a smaller learning rate"
            self.message(text, mark="diverged", level="warn")
        return finite

    def add(self, record: dict[str, Any]) -> None:
        """Append a record."""
        self._write(json.dumps({"at": int(time.time()), **record}).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._file, view) :]

    def close(self) -> None:
        """Put the pen away."""
        os.close(self._file)


def read(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The records from an offset on, at most a chunk of them, and the offset to go on from.

    A line that is no record (cut off by a kill) is passed over.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK)
    except FileNotFoundError:
        return [], offset
    whole, newline, _ = chunk.rpartition(b"\n")
    if not newline:
        # a line longer than a chunk can't be ours: pass over it rather than wait for ever
        return [], offset + len(chunk) if len(chunk) == CHUNK else offset
    return list(_records(whole)), offset + len(whole) + 1


def _records(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def read_all(path: Path) -> Iterator[dict[str, Any]]:
    """Every record from the start."""
    offset = 0
    while True:
        records, end = read(path, offset)
        if end == offset:
            return
        yield from records
        offset = end
