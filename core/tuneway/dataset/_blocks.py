"""Lines of a file: a block of them as bytes, and chunks that are split."""

from __future__ import annotations

import io
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

_CHUNK = 96 * 2**10  # small enough that a chunk's rows fit in the processor's cache

TOO_LONG = b"\0a line that is too long to be kept\n"
"""Stands for a line that is longer than the limit; compared by identity."""


class Chunk(NamedTuple):
    """Some lines, with the number and the offset of each, the offset after the last, and what is known of them."""

    numbers: Sequence[int]
    lines: list[bytes]
    offsets: list[int]
    end: int
    plain_chats: bool = False
    """Whether all lines are known to be plain chats."""
    has_cr: bool = False
    """Whether the lines may contain carriage returns. In JSON they are escaped, so they can only end a line."""

    def part(self, start: int, stop: int) -> Self:
        """A range of the lines."""
        end = self.end if stop == len(self.lines) else self.offsets[stop]
        return self._replace(
            numbers=self.numbers[start:stop], lines=self.lines[start:stop], offsets=self.offsets[start:stop], end=end
        )

    def only(self, places: Sequence[int]) -> Self:
        """The lines at some places."""
        if len(places) == len(self.lines):
            return self
        return self._replace(
            numbers=[self.numbers[place] for place in places],
            lines=[self.lines[place] for place in places],
            offsets=[self.offsets[place] for place in places],
        )


class FileBlock(NamedTuple):
    """Some whole lines, not split yet: the number of the first, and where they lie in the file."""

    number: int
    offset: int
    size: int
    data: bytes

    def chunks(self, numbers_of: Callable[[int], Sequence[int]] | None = None) -> Iterator[Chunk]:
        """Split the block into lines. `numbers_of` gives their numbers if they aren't consecutive."""
        number, offset = self.number, self.offset
        numbers_of = numbers_of or (lambda count: range(number, number + count))
        if self.data is TOO_LONG:
            yield Chunk(numbers_of(1), [TOO_LONG], [offset], offset + self.size)
            return
        has_cr = b"\r" in self.data
        file = io.BytesIO(self.data)
        while lines := file.readlines(_CHUNK):
            *offsets, end = accumulate(map(len, lines), initial=offset)
            yield Chunk(numbers_of(len(lines)), lines, offsets, end, has_cr=has_cr)
            number, offset = number + len(lines), end
