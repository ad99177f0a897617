"""Find rows that occur twice, in one file or in two, in constant memory.

For each row, 24 bytes are kept: a digest of its line, its line number and its offset. Up to `LIMIT` rows stay in
memory. More rows are written to a temporary file, partitioned by digest into 256 buckets, so that equal rows are in the
same bucket. At the end the buckets are read one at a time. Rows with equal digests are read again and compared, so
each reported duplicate really is one.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import IO, TYPE_CHECKING, NamedTuple

from tuneway.data import room_needed, temporary_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIMIT = 2**17
_BUCKETS = 256


class DigestBucket(NamedTuple):
    """Rows, with one array for each field."""

    digests: array[int]
    lines: array[int]
    offsets: array[int]


class _SpooledBucket:
    """Rows that were on disk: digest, line and offset of one after the other."""

    def __init__(self, rows: array[int]) -> None:
        self.digests = rows[0::3]
        self._rows = rows

    @property
    def lines(self) -> array[int]:
        return self._rows[1::3]

    @property
    def offsets(self) -> array[int]:
        return self._rows[2::3]


_Bucket = DigestBucket | _SpooledBucket


class SeenPart(NamedTuple):
    """What another process has seen: where its rows lie in its temporary file, and those that are in no file."""

    places: list[list[tuple[int, int]]]
    rows: DigestBucket


class Seen:
    """The digests of the rows of one file.

    Args:
        line_at: Reads a line again.
        limit: How many rows stay in memory.
        spool: The temporary file. The default is to make one when it is needed.
    """

    def __init__(self, line_at: Callable[[int], bytes], *, limit: int = LIMIT, spool: IO[bytes] | None = None) -> None:
        self.line_at = line_at
        self._limit = limit
        self._digests = array("q")
        self._lines = array("q")
        self._offsets = array("q")
        self._spools = [] if spool is None else [spool]
        self._index: list[list[tuple[int, int, int]]] = [[] for _ in range(_BUCKETS)]

    def add(self, digests: Iterable[int], lines: Iterable[int], offsets: Iterable[int]) -> None:
        """Add some rows, in any order."""
        self._digests.extend(digests)
        self._lines.extend(lines)
        self._offsets.extend(offsets)
        if len(self._digests) > self._limit:
            self.spill()

    @property
    def spilled(self) -> bool:
        """Whether some rows are on disk."""
        return any(self._index)

    def spill(self) -> None:
        """Write the rows in memory to the buckets on disk."""
        buckets = [array("q") for _ in range(_BUCKETS)]
        for row in zip(self._digests, self._lines, self._offsets, strict=True):
            buckets[row[0] % _BUCKETS].extend(row)
        if not self._spools:
            self._spools.append(temporary_file())
        with room_needed():
            spool = self._spools[0]
            for bucket, index in zip(buckets, self._index, strict=True):
                index.append((0, spool.tell(), len(bucket)))
                bucket.tofile(spool)
        del self._digests[:], self._lines[:], self._offsets[:]

    def part(self) -> SeenPart:
        """The rows, for the process that gave the temporary file."""
        with room_needed():
            for spool in self._spools:
                spool.flush()
        places = [[(position, length) for _, position, length in index] for index in self._index]
        return SeenPart(places, DigestBucket(self._digests, self._lines, self._offsets))

    def merge(self, part: SeenPart, spool: IO[bytes]) -> None:
        """Add what another process has seen. `spool` is the temporary file that it was given."""
        if not self._spools:
            self._spools.append(temporary_file())
        number = len(self._spools)
        self._spools.append(spool)
        for index, places in zip(self._index, part.places, strict=True):
            index += [(number, position, length) for position, length in places]
        self.add(*part.rows)

    def buckets(self) -> Iterator[_Bucket]:
        """Give the rows, one bucket at a time. If none are on disk, all are in one bucket."""
        if not self.spilled:
            yield DigestBucket(self._digests, self._lines, self._offsets)
            return
        self.spill()
        for index in self._index:
            rows = array("q")
            for number, position, length in index:
                self._spools[number].seek(position)
                rows.frombytes(self._spools[number].read(length * rows.itemsize))
            yield _SpooledBucket(rows)

    def close(self) -> None:
        """Delete the temporary files."""
        for spool in self._spools:
            spool.close()


def duplicates(seen: Seen) -> Iterator[tuple[int, int]]:
    """Find each row that occurred before; gives its line and that of the first equal row."""
    for bucket in seen.buckets():
        if len(set(bucket.digests)) == len(bucket.digests):
            continue
        repeated = {digest for digest, count in Counter(bucket.digests).items() if count > 1}
        for places in _places(bucket, repeated).values():
            firsts: dict[bytes, int] = {}
            for line, offset in places:
                first = firsts.setdefault(seen.line_at(offset), line)
                if first != line:
                    yield line, first


def overlap(seen: Seen, earlier: Seen) -> Iterator[tuple[int, int]]:
    """Find each row that is also in the other file; gives its line and that of the first equal row there."""
    if seen.spilled or earlier.spilled:
        seen.spill()
        earlier.spill()
    for bucket, other in zip(seen.buckets(), earlier.buckets(), strict=True):
        shared = set(bucket.digests).intersection(other.digests)
        if not shared:
            continue
        candidates = _places(other, shared)
        for digest, places in _places(bucket, shared).items():
            for line, offset in places:
                wanted = seen.line_at(offset)
                first = next((line for line, place in candidates[digest] if earlier.line_at(place) == wanted), None)
                if first is not None:
                    yield line, first


def _places(bucket: _Bucket, digests: set[int]) -> dict[int, list[tuple[int, int]]]:
    """The lines and offsets of some digests, in the order of the file."""
    places: dict[int, list[tuple[int, int]]] = {}
    for digest, line, offset in zip(bucket.digests, bucket.lines, bucket.offsets, strict=True):
        if digest in digests:
            places.setdefault(digest, []).append((line, offset))
    for found in places.values():
        found.sort()
    return places
