"""The values that a chart shows under the pointer. The style sheet shows and hides them, without a script."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tuneway.report._frame import LETTER, Frame, marker, stroke, text
from tuneway.report._markup import Markup, h
from tuneway.report._scale import brief
from tuneway.report._series import Point, Series

_STRIPS = 80


def hover_strips(frame: Frame, series: Sequence[Series]) -> Markup:
    """Draw vertical strips over the plot. Each shows a line, the values there and their text while it is hovered."""
    width, span = (frame.x.end - frame.x.start) / _STRIPS, (frame.x.high - frame.x.low) / _STRIPS
    strips: dict[int, dict[int, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for number, one in enumerate(series):
        for step, value in one.finite:
            strip = min(int((step - frame.x.low) / span), _STRIPS - 1)
            strips[strip][number].append((step, value))
    places = sorted(strips)
    # each strip reaches halfway to its neighbours, so that the strips leave no gap between sparse steps
    edges = [0.0, *((a + b + 1) / 2 for a, b in pairwise(places)), float(_STRIPS)]
    parts = []
    for place, (left, right) in zip(places, pairwise(edges), strict=True):
        start = frame.x.start + left * width
        target = h(
            "rect",
            x=f"{start:.1f}",
            y=f"{frame.y.end:.1f}",
            width=f"{(right - left) * width:.1f}",
            height=f"{frame.y.start - frame.y.end:.1f}",
            fill="transparent",
        )
        parts.append(h("g", target, _readout(frame, series, strips[place])))
    return h("g", *parts, class_="hover")


def _readout(frame: Frame, series: Sequence[Series], strip: Mapping[int, Sequence[Point]]) -> Markup:
    """Draw a strip's line, values and text. The series with the fewest points decides which step is shown."""
    step = min(strip.values(), key=len)[-1][0]
    near = [(series[n].role, min(points, key=lambda point: abs(point[0] - step))) for n, points in strip.items()]
    words = " · ".join([f"step {step:.0f}", *(f"{role} {brief(value)}" for role, (_, value) in near)])
    x, top, room = frame.x(step), frame.y.end, len(words) * LETTER / 2 + 8
    middle = max(frame.x.start + room, min(x, frame.x.end - room))
    return h(
        "g",
        stroke(f"M{x:.1f} {top:.1f}V{frame.y.start:.1f}", frame.theme.ink, width=1),
        *(marker(role, frame.x(at), frame.y(value), frame.theme) for role, (at, value) in near),
        h("rect", x=f"{middle - room:.1f}", y=f"{top + 4:.1f}", width=f"{2 * room:.1f}", height=22, rx=4),
        text(middle, top + 19, words, frame.theme.ink, anchor="middle"),
    )
