"""What counts of tokens have in common, and their summary."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tuneway.dataset._report import Bin, TokenCount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tuneway.dataset._blocks import Chunk
    from tuneway.dataset._formats import Measured
    from tuneway.dataset._report import Format

    Row = dict[str, Any]
    Measure = Callable[[Row], Measured]


class Counted(NamedTuple):
    """The tokens of some rows, and the numbers of their lines in one or more parts."""

    numbers: Sequence[Sequence[int]]
    tokens: Sequence[int]


class TallyState(NamedTuple):
    """The sum of a tally, for another process: how often each length occurs, and what a tally has besides."""

    lengths: dict[int, int]
    more: tuple[dict[int, int], int, int] | None = None
    exact: bool = True


class Tally(Protocol):
    """Adds up the tokens of a file."""

    needs_texts: bool

    def add_plain(self, plain: Chunk, texts: list[list[str]] | None, format_: Format | None) -> Iterable[Counted]:
        """Add rows that contain only texts, at least one row; and the texts of each, if they are needed.

        Gives what is counted by now, of these and earlier ones, where rows may be too long.
        """

    def add(self, row: Row, line: bytes, *, number: int, offset: int) -> Iterable[Counted]:
        """Add any other row. Gives the same."""

    def settle(self) -> Iterable[Counted]:
        """Finish counting. Gives what `add_plain` hasn't given yet."""

    def state(self) -> TallyState:
        """The sum, for another process."""

    def merge(self, state: TallyState) -> None:
        """Add the sum of other rows of the same file."""

    def total(self) -> TokenCount:
        """Summarise the tokens of all rows."""

    def close(self) -> None:
        """End its threads."""


def summary(lengths: Counter[int], *, exact: bool, method: str) -> TokenCount:
    """Summarise the lengths of rows, given how often each length occurs. Even 8 GB have at most 130,000 lengths."""
    ordered = sorted(lengths.items()) or [(0, 0)]
    rows = lengths.total()

    def at(share: float) -> int:
        below = 0
        for length, count in ordered:
            below += count
            if below >= share * rows:
                return length
        return ordered[-1][0]

    return TokenCount(
        total=sum(length * count for length, count in ordered),
        exact=exact,
        method=method,
        min=ordered[0][0],
        median=at(0.5),
        p95=at(0.95),
        max=ordered[-1][0],
        histogram=_histogram(ordered) if rows else [],
    )


def _histogram(ordered: list[tuple[int, int]], bins: int = 20) -> list[Bin]:
    """Make bins that grow by a constant factor, since lengths differ by orders of magnitude."""
    low, high = max(1, ordered[0][0]), ordered[-1][0]
    inner = {round(low * (high / low) ** (step / bins)) for step in range(bins)}
    edges = [*sorted(inner | {ordered[0][0]}), high + 1]
    counts = [0] * (len(edges) - 1)
    place = 0
    for length, count in ordered:
        while length >= edges[place + 1]:
            place += 1
        counts[place] += count
    return [Bin(low, high - 1, n) for low, high, n in zip(edges, edges[1:], counts, strict=False)]
