"""Find rows that occur twice, in a file or across two, in constant memory.

A row is remembered as an 8-byte digest of its line, its line number and its offset: 24 bytes. Up to `LIMIT`
rows stay in memory; beyond that they go to a temporary file, sorted onto shelves by digest, so that equal rows
land on the same shelf. In the end one shelf at a time is looked through: a 256th of the rows. Two rows with the
same digest are read again and compared, so a duplicate that is reported is one.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from typing import IO, TYPE_CHECKING, NamedTuple

from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIMIT = 2**17
_SHELVES = 256


class Shelf(NamedTuple):
    """Rows, field by field."""

    digests: array[int]
    lines: array[int]
    offsets: array[int]


class Seen:
    """The rows of one file. `line_at` reads a line again."""

    def __init__(self, line_at: Callable[[int], bytes], *, limit: int = LIMIT) -> None:
        self.line_at = line_at
        self._limit = limit
        self._digests = array("q")
        self._lines = array("q")
        self._offsets = array("q")
        self._spool: IO[bytes] | None = None
        self._index: list[list[tuple[int, int]]] = [[] for _ in range(_SHELVES)]

    def add(self, digests: Iterable[int], lines: Iterable[int], offsets: Iterable[int]) -> None:
        """Remember some rows."""
        self._digests.extend(digests)
        self._lines.extend(lines)
        self._offsets.extend(offsets)
        if len(self._digests) > self._limit:
            self.spill()

    @property
    def spilled(self) -> bool:
        """Whether some are on disk."""
        return self._spool is not None

    def spill(self) -> None:
        """Put what is in memory on shelves on disk."""
        shelves = [array("q") for _ in range(_SHELVES)]
        for row in zip(self._digests, self._lines, self._offsets, strict=True):
            shelves[row[0] % _SHELVES].extend(row)
        try:
            if self._spool is None:
                self._spool = tempfile.TemporaryFile(prefix="tuneway-")  # noqa: SIM115  # lives as long as this object
            for shelf, index in zip(shelves, self._index, strict=True):
                index.append((self._spool.tell(), len(shelf)))
                shelf.tofile(self._spool)
        except OSError as error:
            raise InvalidInput(
                f"no room to look for duplicates: {error.strerror}",
                hint=f"Make room in {tempfile.gettempdir()}, or set TMPDIR.",
            ) from error
        del self._digests[:], self._lines[:], self._offsets[:]

    def shelves(self) -> Iterator[Shelf]:
        """The rows, a shelf at a time; all on one shelf unless spilled."""
        if self._spool is None:
            yield Shelf(self._digests, self._lines, self._offsets)
            return
        self.spill()
        for index in self._index:
            rows = array("q")
            for position, length in index:
                self._spool.seek(position)
                rows.frombytes(self._spool.read(length * rows.itemsize))
            yield Shelf(rows[0::3], rows[1::3], rows[2::3])

    def close(self) -> None:
        """Give the temporary file back."""
        if self._spool is not None:
            self._spool.close()


def duplicates(seen: Seen) -> Iterator[tuple[int, int]]:
    """Each row that was there before, and the first one like it, by line."""
    for shelf in seen.shelves():
        if len(set(shelf.digests)) == len(shelf.digests):
            continue
        repeated = {digest for digest, count in Counter(shelf.digests).items() if count > 1}
        for (first, start), *others in _places(shelf, repeated).values():
            wanted = seen.line_at(start)
            yield from ((line, first) for line, offset in others if seen.line_at(offset) == wanted)


def overlap(seen: Seen, earlier: Seen) -> Iterator[tuple[int, int]]:
    """Each row that is also in the other file, and the first one like it there, by line."""
    if seen.spilled or earlier.spilled:
        seen.spill()
        earlier.spill()
    for shelf, other in zip(seen.shelves(), earlier.shelves(), strict=True):
        shared = set(shelf.digests).intersection(other.digests)
        if not shared:
            continue
        firsts = {digest: places[0] for digest, places in _places(other, shared).items()}
        for digest, places in _places(shelf, shared).items():
            first, start = firsts[digest]
            wanted = earlier.line_at(start)
            yield from ((line, first) for line, offset in places if seen.line_at(offset) == wanted)


def _places(shelf: Shelf, digests: set[int]) -> dict[int, list[tuple[int, int]]]:
    """Where some digests are: line and offset, in the order of the file."""
    places: dict[int, list[tuple[int, int]]] = {}
    for digest, line, offset in zip(*shelf, strict=True):
        if digest in digests:
            places.setdefault(digest, []).append((line, offset))
    return places
