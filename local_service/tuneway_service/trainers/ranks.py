"""The processes that train one job together: what a training asks of them."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")


class LostRank(Exception):
    """Another process of the gang has ended, or doesn't answer. The reason is that process's, not this one's."""


class Ranks:
    """The processes that train one job together; this class is a process that trains alone.

    Each process has a rank, counted from 0. All of them have the same weights and go through the same steps, and each
    computes its share of a step. What they have computed is added up, so the result doesn't depend on the shares.
    Every method but `share` waits for all processes, so all must call the same ones in the same order; they raise
    `LostRank`.
    """

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the job's files."""
        return self.rank == 0

    def share(self, weights: Sequence[int]) -> list[int]:
        """The numbers of the items that this process computes, of items with these weights; the heaviest come first.

        Each item goes to the process with the least weight so far.
        """
        order = sorted(range(len(weights)), key=lambda number: -weights[number])
        if self.size == 1:
            return order
        loads = [(0, rank) for rank in range(self.size)]
        found = []
        for number in order:
            load, rank = loads[0]
            heapq.heapreplace(loads, (load + weights[number], rank))
            if rank == self.rank:
                found.append(number)
        return found

    def gathered(self, content: T) -> list[T]:
        """What each process gives, in the order of their ranks; it must be JSON."""
        return [content]

    def any(self, flag: bool) -> bool:  # noqa: FBT001 - it is the question itself
        """Whether the flag is set in any process."""
        return any(self.gathered(flag))

    def told(self, content: T) -> T:
        """What the first process gives."""
        return self.gathered(content)[0]

    def add_up(self, numbers: Any) -> None:
        """Replace a tensor in memory by the sum of those of all processes."""

    def add_up_gradients(self, weights: Iterable[Any]) -> None:
        """Replace the gradients of these weights by the sums of those of all processes."""
