"""The learning curve as an SVG image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuneway._escape import excerpt
from tuneway.errors import InvalidSpec
from tuneway.models import Checkpoint, Measure, Role
from tuneway.report._frame import LETTER, Frame, flag, grid, heading, image, marker, stroke, text
from tuneway.report._hover import hover_strips
from tuneway.report._markup import Markup, h, join
from tuneway.report._scale import brief, step_scale, value_scale
from tuneway.report._series import (
    Point,
    Row,
    Series,
    best_checkpoint,
    checkpoint_rows,
    checkpoint_steps,
    segments,
    series_of,
    thin,
    trend,
)
from tuneway.report._theme import DASHES, Theme, theme_named

_LEGEND_TOP, _LEGEND_LINE = 30, 20
_TREND_POINTS = 240
_MARKERS = 60  # a line with more points has no markers

_Key = tuple[float, Role | None, str]


def curve_svg(
    rows: Iterable[Row],
    checkpoints: Sequence[Checkpoint] = (),
    *,
    metric: str = "loss",
    theme: str = "both",
    width: int = 720,
    height: int = 320,
    title: str | None = None,
) -> str:
    """Draw one metric by training step as an SVG image, with the checkpoints marked.

    Args:
        rows: Rows of a result file, events or mappings, in any order. NaN makes a gap in the line.
        checkpoints: The checkpoints to mark; the best one gets a label.
        metric: "loss", "accuracy" or "reward".
        theme: "both" is readable on light and dark pages; "light" and "dark" have their own background.
        width: The width in pixels.
        height: The height in pixels.
        title: The title; the default is the metric's name.
    """
    chosen, colours = metric_named(metric), theme_named(theme)
    series = series_of([*checkpoint_rows(checkpoints), *rows], chosen)
    return draw(series, checkpoints, metric=chosen, theme=colours, width=width, height=height, title=title)


def metric_named(name: str) -> Measure:
    """Get a metric by its name."""
    try:
        return Measure(name)
    except ValueError:
        names = ", ".join(Measure)
        raise InvalidSpec(f"unknown metric {excerpt(name)}", field="metric", hint=f"Give one of: {names}.") from None


def draw(
    series: Sequence[Series],
    checkpoints: Sequence[Checkpoint],
    *,
    metric: Measure,
    theme: Theme,
    width: int,
    height: int,
    title: str | None = None,
    in_page: bool = False,
) -> Markup:
    """Draw one chart with its title and legend.

    In the HTML page, title and legend are text outside the chart, which can wrap. There the chart also has texts that
    the page's style sheet shows under the pointer.
    """
    title = title or title_of(metric)
    steps = checkpoint_steps(checkpoints)
    if not series:
        empty = text(width / 2, height / 2, "No values yet", theme.muted, anchor="middle")
        body, summary = (
            join(None if in_page else heading(title, theme), empty),
            f"No {metric} has been reported.",
        )
        return image(body, title=title, summary=summary, theme=theme, width=width, height=height)
    keys = [] if in_page else _keys(series, checkpoints=bool(steps), width=width)
    y = value_scale(
        [value for one in series for _, value in one.finite],
        start=height - 38,
        end=_LEGEND_TOP + _LEGEND_LINE * len(keys) + 20 if keys else 24,
        share=metric is Measure.ACCURACY,
    )
    ends = [*(step for one in series for step in (one.points[0][0], one.points[-1][0])), *steps]
    # on a narrow screen, the page's style sheet makes the letters larger
    left = max(len(label) for _, label in y.labels()) * LETTER * (1.4 if in_page else 1) + 14
    x = step_scale(min(ends), max(ends), start=left, end=width - 16, count=max(2, width // 60))
    frame = Frame(width, x, y, theme)
    body = join(
        None if in_page else heading(title, theme),
        _legend(keys, theme),
        grid(frame, "step"),
        text(12, height - 5, "log scale", theme.muted) if y.log else None,
        _checkpoint_lines(frame, steps),
        *(_line(frame, one) for one in series),
        _best(frame, checkpoints, series),
        hover_strips(frame, series) if in_page else None,
    )
    return image(body, title=title, summary=describe(series, steps), theme=theme, width=width, height=height)


def title_of(metric: Measure) -> str:
    """The title of a chart."""
    return f"{metric.capitalize()} by training step"


def describe(series: Sequence[Series], steps: Sequence[float]) -> str:
    """Describe a chart in words."""
    parts = []
    for one in series:
        (first, start), (last, end) = one.finite[0], one.finite[-1]
        parts.append(f"{one.role} from {brief(start)} at step {first:.0f} to {brief(end)} at step {last:.0f}")
    if steps:
        shown = ", ".join(f"{step:.0f}" for step in steps[:20])
        parts.append(f"checkpoints at step {shown}" + (" and later" if len(steps) > 20 else ""))
    return "; ".join(parts) + "."


def _keys(series: Sequence[Series], *, checkpoints: bool, width: float) -> list[list[_Key]]:
    """Lay out the legend: the position and text of each key, on as many lines as needed."""
    wanted: list[tuple[Role | None, str]] = [(one.role, f"{one.role} {brief(one.finite[-1][1])}") for one in series]
    if checkpoints:
        wanted.append((None, "checkpoint"))
    lines: list[list[_Key]] = [[]]
    at = 12.0
    for role, words in wanted:
        room = 32 + len(words) * LETTER
        if at + room > width + 8 and lines[-1]:
            lines.append([])
            at = 12.0
        lines[-1].append((at, role, words))
        at += room + 4
    return lines


def _legend(lines: list[list[_Key]], theme: Theme) -> Markup:
    parts: list[Markup] = []
    for number, line in enumerate(lines):
        y = _LEGEND_TOP + _LEGEND_LINE * number + 14
        for x, role, words in line:
            parts.extend((_key(role, x, y - 4, theme), text(x + 30, y, words, theme.ink)))
    return join(*parts)


def sample(role: Role | None, theme: Theme) -> Markup:
    """Draw the sample for a legend: how a series is drawn; None is for a checkpoint."""
    return h("svg", _key(role, 1, 6, theme), width=26, height=12, viewBox="0 0 26 12", aria_hidden="true")


def _key(role: Role | None, x: float, y: float, theme: Theme) -> Markup:
    if role is None:
        return flag(x + 12, y + 4, theme.muted)
    line = stroke(f"M{x} {y}h24", theme.of(role), DASHES[role])
    return line if role is Role.TRAIN else join(line, marker(role, x + 12, y, theme))


def _line(frame: Frame, series: Series) -> Markup:
    """Draw a series: its values, and on top their trend if the series is noisy."""
    colour, dash = frame.theme.of(series.role), DASHES[series.role]
    pieces = segments(thin(series.points, int(frame.x.end - frame.x.start)))
    raw = _paths(frame, pieces)
    parts: list[Markup] = []
    if raw and series.noisy:
        parts.append(stroke(raw, colour, width=1, opacity=0.3))
        parts.append(stroke(_paths(frame, segments(trend(series.points, _TREND_POINTS))), colour))
    elif raw:
        parts.append(stroke(raw, colour, dash))
    alone = [piece[0] for piece in pieces if len(piece) == 1]
    marked = series.finite if series.role is not Role.TRAIN and len(series.points) <= _MARKERS else alone
    parts.extend(marker(series.role, frame.x(step), frame.y(value), frame.theme) for step, value in marked)
    return join(*parts)


def _paths(frame: Frame, pieces: Iterable[Sequence[Point]]) -> str:
    return "".join(frame.path(piece) for piece in pieces if len(piece) > 1)


def _checkpoint_lines(frame: Frame, steps: Sequence[float]) -> Markup:
    """Draw a flag at the step of each checkpoint; only one for several on the same pixel."""
    top, bottom, colour = frame.y.end, frame.y.start, frame.theme.muted
    places = sorted({round(frame.x(step)) for step in steps})
    lines = "".join(f"M{x} {top - 8:.1f}V{bottom:.1f}" for x in places)
    return join(stroke(lines, colour, "1 4", width=1) if lines else None, *(flag(x, top - 8, colour) for x in places))


def _best(frame: Frame, checkpoints: Sequence[Checkpoint], series: Sequence[Series]) -> Markup | None:
    """Label the best checkpoint of several, and draw a ring around its value."""
    best = best_checkpoint(checkpoints)
    steps = checkpoint_steps([best]) if best and len(checkpoints) > 1 else []
    if not steps:
        return None
    (step,) = steps
    x, theme = frame.x(step), frame.theme
    side = -8 if x > frame.width / 2 else 8
    name = text(x + side, frame.y.end - 8, "best", theme.ink, anchor="end" if side < 0 else "start", weight=600)
    held_out = [dict(one.finite) for one in series if one.role is not Role.TRAIN]
    value = next((values[step] for values in reversed(held_out) if step in values), None)
    if value is None:
        return name
    ring = h(
        "circle",
        cx=f"{x:.1f}",
        cy=f"{frame.y(value):.1f}",
        r=7,
        fill="none",
        stroke=theme.ink,
        stroke_width=1.5,
    )
    return join(name, ring)
