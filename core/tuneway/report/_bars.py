"""The histogram of the lengths of examples."""

from __future__ import annotations

from collections.abc import Sequence

from tuneway.report._frame import LETTER, Frame, grid, image
from tuneway.report._markup import Markup, h, join
from tuneway.report._scale import brief, step_scale, value_scale
from tuneway.report._theme import Theme

_WIDTH, _HEIGHT = 600, 235


def histogram(bins: Sequence[tuple[float, float, int]], theme: Theme) -> Markup:
    """Draw bars for triples `(low, high, count)`. A bar counts from `low` to just below `high`."""
    title = "Tokens per example"
    y = value_scale([0, *(count for _, _, count in bins)], start=_HEIGHT - 38, end=14)
    left = max(len(label) for _, label in y.labels()) * LETTER + 18
    ends = [end for low, high, _ in bins for end in (low, high)]
    x = step_scale(min(ends), max(ends), start=left, end=_WIDTH - 16, count=6)
    frame = Frame(_WIDTH, x, y, theme)
    bars = [_bar(frame, low, high, count) for low, high, count in bins if count > 0]
    most = max(bins, key=lambda one: one[2])
    total = sum(count for _, _, count in bins)
    summary = (
        f"{total:,} examples of {brief(min(ends))} to {brief(max(ends))} tokens; "
        f"the highest bar is between {brief(most[0])} and {brief(most[1])}."
    )
    body = join(grid(frame, "tokens"), *bars)
    return image(body, title=title, summary=summary, theme=theme, width=_WIDTH, height=_HEIGHT)


def _bar(frame: Frame, low: float, high: float, count: int) -> Markup:
    left, right, top = frame.x(low), frame.x(high), frame.y(count)
    gap = 1 if right - left > 4 else 0
    return h(
        "rect",
        h("title", f"{low:,.0f} to {high - 1:,.0f} tokens: {count:,} examples"),
        x=f"{left + gap / 2:.1f}",
        y=f"{top:.1f}",
        width=f"{max(right - left - gap, 1):.1f}",
        height=f"{frame.y.start - top:.1f}",
        fill=frame.theme.train,
    )
