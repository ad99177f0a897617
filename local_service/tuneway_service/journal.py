"""The journal: one JSON object a line. The worker appends; the service reads from where it stopped."""

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
    """Writes the journal. Each line is one write, so that a kill can only cut off the last line."""

    def __init__(self, path: Path) -> None:
        # opened for reading too: to see whether the last line was cut off
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._write(b"\n")

    def message(self, text: str, *, mark: str, level: str = "info") -> None:
        """Report a message; the service records only the first one with this mark."""
        self.add({"kind": "message", "message": text, "mark": mark, "level": level})

    def metrics(
        self, step: int, total_steps: int, numbers: Mapping[str, float], groups: Mapping[str, Any] | None = None
    ) -> None:
        """Report the metrics of a step, and the API's nested ones."""
        record = {"kind": "metrics", "step": step, "total_steps": total_steps, "metrics": self._finite(step, numbers)}
        self.add(record | ({"groups": groups} if groups else {}))

    def checkpoint(self, step: int, epoch: int, numbers: Mapping[str, float]) -> None:
        """Report a checkpoint that has been written."""
        self.add({"kind": "checkpoint", "step": step, "epoch": epoch, "metrics": self._finite(step, numbers)})

    def _finite(self, step: int, numbers: Mapping[str, float]) -> dict[str, float]:
        """The metrics that JSON can represent; a message reports once that there are others."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        if len(finite) < len(numbers):
            lost = ", ".join(sorted(numbers.keys() - finite.keys()))
            text = f"At step {step}, {lost} is not a finite number: the training diverged. Use a lower learning rate"
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
        """Close the file."""
        os.close(self._file)


def read(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The records after an offset, at most a chunk of them, and the offset to continue from.

    A line that isn't a record, because a kill cut it off, is skipped.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK)
    except FileNotFoundError:
        return [], offset
    whole, newline, _ = chunk.rpartition(b"\n")
    if not newline:
        # a worker never writes a line longer than a chunk: skip it, instead of waiting for its end for ever
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
