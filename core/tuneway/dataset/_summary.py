"""The summary of the tokens of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneway.dataset._report import Bin, TokenCount

if TYPE_CHECKING:
    from collections import Counter


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
