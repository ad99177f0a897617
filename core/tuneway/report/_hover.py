"""The read-out under the pointer: a strip for every few steps, shown by the style sheet, without a script."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tuneway.report._frame import LETTER, Frame, marker, stroke, text
from tuneway.report._markup import Markup, h
from tuneway.report._scale import brief
from tuneway.report._series import Point, Series

_STRIPS = 80


def probes(frame: Frame, series: Sequence[Series]) -> Markup:
    """Strips side by side over the plot; each holds a line, the values there and their text."""
    width, span = (frame.x.end - frame.x.start) / _STRIPS, (frame.x.high - frame.x.low) / _STRIPS
    strips: dict[int, dict[int, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for number, one in enumerate(series):
        for step, value in one.finite:
            strip = min(int((step - frame.x.low) / span), _STRIPS - 1)
            strips[strip][number].append((step, value))
    places = sorted(strips)
    # each strip reaches halfway to its neighbours, so that there is no blind spot between sparse steps
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
    return h("g", *parts, class_="probes")


def _readout(frame: Frame, series: Sequence[Series], strip: Mapping[int, Sequence[Point]]) -> Markup:
    """A strip's line, values and text; the series measured least often says which step to show."""
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
