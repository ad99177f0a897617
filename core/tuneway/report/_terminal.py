"""Learning curves as text, for terminals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tuneway.models import Checkpoint, Measure, Role
from tuneway.report._scale import Scale, brief, step_scale, value_scale
from tuneway.report._series import (
    Point,
    Row,
    Series,
    checkpoint_rows,
    checkpoint_steps,
    means,
    segments,
    series_of,
    trend,
)
from tuneway.report._svg import metric_named

_BLOCKS = "▁▂▃▄▅▆▇█"
# A braille character is two dots wide and four high; these are the bits of its dots, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_MARKS = {Role.VALID: "o", Role.FULL_VALID: "x"}


def sparkline(values: Iterable[float | None], width: int = 40) -> str:
    """Draw values as one line of text, such as `▇▅▃▂▂▁`, with a space for a missing value."""
    wanted = [math.nan if value is None or not math.isfinite(value) else float(value) for value in values]
    if not wanted or width < 1:
        return ""
    level = [value for _, value in means(list(enumerate(wanted)), width)]
    numbers = [value for value in level if not math.isnan(value)]
    if not numbers:
        return " " * len(level)
    low, span = min(numbers), max(numbers) - min(numbers)
    return "".join(
        " " if math.isnan(value) else _BLOCKS[round((value - low) / span * 7)] if span else _BLOCKS[3]
        for value in level
    )


def terminal_curve(
    rows: Iterable[Row],
    width: int = 72,
    height: int = 16,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    metric: str = "loss",
) -> str:
    """Draw one metric by training step as text: a line for training, marks for validation, axes with labels.

    Args:
        rows: The rows, as for `curve_svg`.
        width: The width in characters, with the axis.
        height: The height in lines, with the axis and the legend.
        checkpoints: The checkpoints to mark on the axis.
        metric: "loss", "accuracy" or "reward".
    """
    chosen = metric_named(metric)
    series, steps = series_of([*checkpoint_rows(checkpoints), *rows], chosen), checkpoint_steps(checkpoints)
    if not series:
        return f"No {chosen} has been reported yet."
    legend = _legend(chosen, series, steps, width)
    lines = max(height - 2 - len(legend), 3)
    y = value_scale(
        [value for one in series for _, value in one.finite],
        start=4 * lines - 1,
        end=0,
        share=chosen is Measure.ACCURACY,
    )
    margin = max(len(label) for _, label in y.labels()) + 2
    columns = max(width - margin, 10)
    ends = [*(step for one in series for step in (one.points[0][0], one.points[-1][0])), *steps]
    x = step_scale(min(ends), max(ends), start=0, end=2 * columns - 1, count=max(2, columns // 10))
    canvas = _plot(series, x, y, columns, lines)
    labels = {round(at) // 4: label for at, label in reversed(y.labels())}
    body = [
        f"{labels.get(line, ''):>{margin - 2}} {'┤' if line in labels else '│'}{canvas[line]}" for line in range(lines)
    ]
    return "\n".join([*legend, *body, *_axis(x, steps, columns, margin)])


def _legend(metric: Measure, series: Sequence[Series], steps: Sequence[float], width: int) -> list[str]:
    """Write the metric's name and how each series is drawn, on as many lines as needed."""
    lines: list[str] = [metric]
    keys = [f"{_MARKS.get(one.role, '─')} {one.role} {brief(one.finite[-1][1])}" for one in series]
    for key in [*keys, *(["▲ checkpoint"] if steps else [])]:
        if len(lines[-1]) + 3 + len(key) > width:
            lines.append(key)
        else:
            lines[-1] += f"   {key}"
    return lines


def _plot(series: Sequence[Series], x: Scale, y: Scale, columns: int, lines: int) -> list[str]:
    """Draw the plot area, as one string for each line."""
    dots = [[0] * columns for _ in range(lines)]
    marks: dict[tuple[int, int], str] = {}
    for one in series:
        line = trend(one.points, 2 * columns) if one.noisy else means(one.points, 2 * columns)
        for piece in segments(line):
            places = [(round(x(step)), round(y(value))) for step, value in piece]
            if one.role is Role.TRAIN:
                _join_dots(dots, places)
            else:
                marks |= {(across // 2, down // 4): _MARKS[one.role] for across, down in places}
    return [
        "".join(
            marks.get((column, line)) or (chr(0x2800 + bits) if bits else " ") for column, bits in enumerate(row)
        ).rstrip()
        for line, row in enumerate(dots)
    ]


def _join_dots(dots: list[list[int]], places: Sequence[Point]) -> None:
    for (x0, y0), (x1, y1) in zip(places, [*places[1:], places[-1]], strict=True):
        count = int(max(abs(x1 - x0), abs(y1 - y0), 1))
        for n in range(count + 1):
            across, down = round(x0 + (x1 - x0) * n / count), round(y0 + (y1 - y0) * n / count)
            dots[down // 4][across // 2] |= _DOTS[down % 4][across % 2]


def _axis(x: Scale, steps: Sequence[float], columns: int, margin: int) -> list[str]:
    """Draw the axis of steps with the checkpoints, and the numbers below it."""
    line, numbers = ["─"] * columns, [" "] * columns
    for at, label in x.labels():
        column = round(at) // 2
        line[column] = "┬"
        start = min(max(column - len(label) // 2, 0), columns - len(label))
        # a number that would touch another one is left out
        if all(character == " " for character in numbers[max(start - 1, 0) : start + len(label) + 1]):
            numbers[start : start + len(label)] = label
    for step in steps:
        line[round(x(step)) // 2] = "▲"
    text = "".join(numbers).rstrip()
    text = f"{text} step" if len(text) > columns - 5 else f"{text:<{columns - 4}}step"
    indent = " " * (margin - 1)
    return [f"{indent}└{''.join(line)}", f"{indent} {text}"]
