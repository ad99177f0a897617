"""The plot area of a chart, and the shapes in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuneway.models import Role
from tuneway.report._markup import Markup, h, join
from tuneway.report._scale import Scale
from tuneway.report._series import Point
from tuneway.report._theme import FONT, Theme

LETTER = 6.7  # the average width of a letter at 12 px


@dataclass(frozen=True, slots=True)
class Frame:
    """The axes and colours of a chart."""

    width: float
    x: Scale
    y: Scale
    theme: Theme

    def path(self, points: Sequence[Point]) -> str:
        """The path data of a line through points."""
        return "M" + "L".join(f"{self.x(step):.1f} {self.y(value):.1f}" for step, value in points)


def image(body: Markup, *, title: str, summary: str, theme: Theme, width: int, height: int) -> Markup:
    """Make the outer element, with a title and a description for screen readers."""
    ground = h("rect", width=width, height=height, rx=6, fill=theme.background) if theme.background else None
    return h(
        "svg",
        h("title", title),
        h("desc", summary),
        ground,
        body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=f"{title}: {summary}",
        font_family=FONT,
        font_size=12,
    )


def heading(title: str, theme: Theme) -> Markup:
    """Draw a chart's title in its upper left corner."""
    return h("text", title, x=12, y=22, fill=theme.ink, font_weight=600, font_size=14)


def grid(frame: Frame, unit: str) -> Markup:
    """Draw both axes with their ticks and numbers."""
    theme, parts = frame.theme, []
    for y, label in frame.y.labels():
        parts.append(stroke(f"M{frame.x.start:.1f} {y:.1f}H{frame.x.end:.1f}", theme.grid, width=1))
        parts.append(text(frame.x.start - 7, y + 4, label, theme.muted, anchor="end"))
    for x, label in frame.x.labels():
        parts.append(stroke(f"M{x:.1f} {frame.y.start:.1f}v4", theme.muted, width=1))
        parts.append(text(x, frame.y.start + 18, label, theme.muted, anchor="middle"))
    parts.append(text(frame.x.end, frame.y.start + 33, unit, theme.muted, anchor="end"))
    return join(*parts)


def text(x: float, y: float, words: str, fill: str, *, anchor: str | None = None, weight: int | None = None) -> Markup:
    """Draw a line of text."""
    return h("text", words, x=f"{x:.1f}", y=f"{y:.1f}", fill=fill, text_anchor=anchor, font_weight=weight)


def stroke(
    data: str, colour: str, dash: str | None = None, *, width: float = 2, opacity: float | None = None
) -> Markup:
    """Draw a line from path data."""
    return h(
        "path",
        d=data,
        fill="none",
        stroke=colour,
        stroke_width=width,
        stroke_dasharray=dash,
        stroke_linejoin="round",
        stroke_opacity=opacity,
    )


def marker(role: Role, x: float, y: float, theme: Theme) -> Markup:
    """Draw a point. Its shape distinguishes the series for people who don't see the colours."""
    if role is Role.FULL_VALID:
        return h("path", d=f"M{x:.1f} {y - 5:.1f}l5 5-5 5-5-5z", fill=theme.of(role))
    return h("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5 if role is Role.VALID else 2.5, fill=theme.of(role))


def flag(x: float, y: float, colour: str) -> Markup:
    """Draw the flag of a checkpoint, with its tip at (x, y)."""
    return h("path", d=f"M{x:.1f} {y:.1f}l-4.5-8h9z", fill=colour)
