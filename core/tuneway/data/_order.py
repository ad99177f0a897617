"""Sort lines by their hash, on disk: the same set of rows is the same file, in whatever order a query gave them."""

from __future__ import annotations

import hashlib
import heapq
import struct
from collections.abc import Iterable, Iterator
from typing import IO

from tuneway.data._temporary import room_needed, temporary_file

Numbered = tuple[int, bytes]
"""A line, after the number of the row that it comes from."""

RUN_BYTES = 6 * 2**20
"""The lines that are sorted in memory at once. More lie on disk, in sorted runs."""

_READ = 2**15
_HEAD = struct.Struct("<16sqI")
_Entry = tuple[bytes, bytes, int]


def by_content(lines: Iterable[Numbered], *, run_bytes: int = RUN_BYTES) -> Iterator[Numbered]:
    """Give the lines sorted by their hash."""
    with temporary_file(buffered=False) as spool:
        runs: list[tuple[int, int]] = []
        entries: list[_Entry] = []
        size = 0
        for number, line in lines:
            entries.append((hashlib.sha256(line).digest()[:16], line, number))
            size += len(line)
            if size >= run_bytes:
                runs.append(_write(spool, entries))
                entries, size = [], 0
        entries.sort()
        yield from ((number, line) for _, line, number in heapq.merge(*(_read(spool, *run) for run in runs), entries))


def _write(spool: IO[bytes], entries: list[_Entry]) -> tuple[int, int]:
    """Write a sorted run; gives where it begins and ends."""
    entries.sort()
    begin = spool.tell()
    data = b"".join(_HEAD.pack(digest, number, len(line)) + line for digest, line, number in entries)
    with room_needed():
        written = 0
        while written < len(data):
            written += spool.write(memoryview(data)[written:])
    return begin, begin + len(data)


def _read(spool: IO[bytes], begin: int, end: int) -> Iterator[_Entry]:
    buffer = b""
    while begin < end or buffer:
        while len(buffer) < _HEAD.size or len(buffer) < _HEAD.size + _HEAD.unpack_from(buffer)[2]:
            spool.seek(begin)
            block = spool.read(min(_READ, end - begin))
            begin += len(block)
            buffer += block
        place = 0
        while place + _HEAD.size <= len(buffer):
            digest, number, length = _HEAD.unpack_from(buffer, place)
            start = place + _HEAD.size
            if start + length > len(buffer):
                break
            yield digest, buffer[start : start + length], number
            place = start + length
        buffer = buffer[place:]
