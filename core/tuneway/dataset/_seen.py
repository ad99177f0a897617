"""Find rows that occur twice, in one file or in two, in constant memory.

For each row, 24 bytes are kept: a digest of its line, its line number and its offset. Up to `LIMIT` rows stay in
memory. More rows are written to a temporary file, partitioned by digest into 256 buckets, so that equal rows are in the
same bucket. At the end the buckets are read one at a time. Rows with equal digests are read again and compared, so
each reported duplicate really is one.
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
_BUCKETS = 256


class DigestBucket(NamedTuple):
    """Rows, with one array for each field."""

    digests: array[int]
    lines: array[int]
    offsets: array[int]


class Seen:
    """The digests of the rows of one file. `line_at` reads a line again."""

    def __init__(self, line_at: Callable[[int], bytes], *, limit: int = LIMIT) -> None:
        self.line_at = line_at
        self._limit = limit
        self._digests = array("q")
        self._lines = array("q")
        self._offsets = array("q")
        self._spool: IO[bytes] | None = None
        self._index: list[list[tuple[int, int]]] = [[] for _ in range(_BUCKETS)]

    def add(self, digests: Iterable[int], lines: Iterable[int], offsets: Iterable[int]) -> None:
        """Add some rows."""
        self._digests.extend(digests)
        self._lines.extend(lines)
        self._offsets.extend(offsets)
        if len(self._digests) > self._limit:
            self.spill()

    @property
    def spilled(self) -> bool:
        """Whether some rows are on disk."""
        return self._spool is not None

    def spill(self) -> None:
        """Write the rows in memory to the buckets on disk."""
        buckets = [array("q") for _ in range(_BUCKETS)]
        for row in zip(self._digests, self._lines, self._offsets, strict=True):
            buckets[row[0] % _BUCKETS].extend(row)
        try:
            if self._spool is None:
                self._spool = tempfile.TemporaryFile(prefix="tuneway-")  # noqa: SIM115  # lives as long as this object
            for bucket, index in zip(buckets, self._index, strict=True):
                index.append((self._spool.tell(), len(bucket)))
                bucket.tofile(self._spool)
        except OSError as error:
            raise InvalidInput(
                f"the temporary file for finding duplicates can't be written: {error.strerror}",
                hint=f"Free disk space in {tempfile.gettempdir()}, or set TMPDIR.",
            ) from error
        del self._digests[:], self._lines[:], self._offsets[:]

    def buckets(self) -> Iterator[DigestBucket]:
        """Give the rows, one bucket at a time. If none are on disk, all are in one bucket."""
        if self._spool is None:
            yield DigestBucket(self._digests, self._lines, self._offsets)
            return
        self.spill()
        for index in self._index:
            rows = array("q")
            for position, length in index:
                self._spool.seek(position)
                rows.frombytes(self._spool.read(length * rows.itemsize))
            yield DigestBucket(rows[0::3], rows[1::3], rows[2::3])

    def close(self) -> None:
        """Delete the temporary file."""
        if self._spool is not None:
            self._spool.close()


def duplicates(seen: Seen) -> Iterator[tuple[int, int]]:
    """Find each row that occurred before; gives its line and that of the first equal row."""
    for bucket in seen.buckets():
        if len(set(bucket.digests)) == len(bucket.digests):
            continue
        repeated = {digest for digest, count in Counter(bucket.digests).items() if count > 1}
        for (first, start), *others in _places(bucket, repeated).values():
            wanted = seen.line_at(start)
            yield from ((line, first) for line, offset in others if seen.line_at(offset) == wanted)


def overlap(seen: Seen, earlier: Seen) -> Iterator[tuple[int, int]]:
    """Find each row that is also in the other file; gives its line and that of the first equal row there."""
    if seen.spilled or earlier.spilled:
        seen.spill()
        earlier.spill()
    for bucket, other in zip(seen.buckets(), earlier.buckets(), strict=True):
        shared = set(bucket.digests).intersection(other.digests)
        if not shared:
            continue
        firsts = {digest: places[0] for digest, places in _places(other, shared).items()}
        for digest, places in _places(bucket, shared).items():
            first, start = firsts[digest]
            wanted = earlier.line_at(start)
            yield from ((line, first) for line, offset in places if seen.line_at(offset) == wanted)


def _places(bucket: DigestBucket, digests: set[int]) -> dict[int, list[tuple[int, int]]]:
    """The lines and offsets of some digests, in the order of the file."""
    places: dict[int, list[tuple[int, int]]] = {}
    for digest, line, offset in zip(*bucket, strict=True):
        if digest in digests:
            places.setdefault(digest, []).append((line, offset))
    return places
