"""Turn rows of metrics into the series of charts: loss, accuracy and reward, each by the data it was measured on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from tuneway.errors import InvalidSpec
from tuneway.models import METRICS, Checkpoint, Event, Measure, MetricRow, Role, metric_name

Row = MetricRow | Event | Mapping[str, Any]
"""A row of a result file, a metrics event, or a plain mapping. Each needs a `step`."""

Point = tuple[float, float]
"""A step and a value. If the value is NaN, the line has a gap there."""

# A larger value means that the training diverged, and arithmetic on it would overflow.
_LARGEST = 1e100
_NOISY_FROM = 60


@dataclass(frozen=True)
class Series:
    """One line of a chart, sorted by step."""

    measure: Measure
    role: Role
    points: list[Point]

    @property
    def noisy(self) -> bool:
        """Whether single values say little, because there are many, each measured on one batch."""
        return self.role is Role.TRAIN and len(self.points) >= _NOISY_FROM

    @cached_property
    def finite(self) -> list[Point]:
        """The points whose value is a number."""
        return [point for point in self.points if not math.isnan(point[1])]


def series_of(rows: Iterable[Row], measure: Measure) -> list[Series]:
    """The series of one measure, without those that have no number."""
    return all_series(rows).get(measure, [])


def all_series(rows: Iterable[Row]) -> dict[Measure, list[Series]]:
    """The series of all measures. Rows may have any order; if two have a value for one step, the later one counts."""
    values: dict[tuple[Measure, Role], dict[float, float]] = defaultdict(dict)
    for row in rows:
        cells = _cells(row)
        step = _number(cells.get("step"))
        if step is None or math.isnan(step):
            continue
        for name, cell in cells.items():
            metric = METRICS.get(metric_name(name))
            if metric is not None and metric.measure is not None and (value := _number(cell)) is not None:
                values[metric.measure, metric.role][step] = value
    charts: dict[Measure, list[Series]] = {}
    for measure in Measure:
        found = [Series(measure, role, sorted(values[measure, role].items())) for role in Role]
        if kept := [series for series in found if series.finite]:
            charts[measure] = kept
    return charts


def checkpoint_steps(checkpoints: Iterable[Checkpoint]) -> list[float]:
    """The steps of checkpoints, sorted."""
    steps = {_number(checkpoint.step_number) for checkpoint in checkpoints}
    return sorted(step for step in steps if step is not None and not math.isnan(step))


def checkpoint_rows(checkpoints: Iterable[Checkpoint]) -> list[dict[str, Any]]:
    """The metrics of checkpoints as rows, for services that report validation metrics nowhere else."""
    return [{**(checkpoint.metrics or {}), "step": checkpoint.step_number} for checkpoint in checkpoints]


def best_checkpoint(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The best checkpoint by the rule of the registry; None if none has a validation metric."""
    from tuneway.registry import choose_checkpoint

    try:
        return choose_checkpoint(checkpoints, "best")
    except InvalidSpec:
        return None


def measured(checkpoint: Checkpoint, measure: Measure) -> float | None:
    """A checkpoint's validation metric, on the whole validation set if the service gives that."""
    found: dict[Role, float] = {}
    for name, cell in (checkpoint.metrics or {}).items():
        metric = METRICS.get(metric_name(name))
        value = _number(cell)
        if metric is not None and metric.measure is measure and value is not None and not math.isnan(value):
            found[metric.role] = value
    return found.get(Role.FULL_VALID, found.get(Role.VALID))


def thin(points: Sequence[Point], buckets: int) -> list[Point]:
    """Reduce the points: keep only the lowest and the highest point of each bucket of steps, so that peaks stay.

    A bucket without a number becomes one gap.
    """
    if len(points) <= 2 * buckets:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / buckets or 1.0
    sorted_in: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        sorted_in[int((point[0] - first) / width)].append(point)
    kept: list[Point] = []
    for bucket in sorted_in.values():
        numbers = [point for point in bucket if not math.isnan(point[1])]
        if not numbers:
            kept.append(bucket[0])
            continue
        ends = {min(numbers, key=_value), max(numbers, key=_value)}
        kept.extend(sorted(ends))
    return kept


def means(points: Sequence[Point], buckets: int) -> list[Point]:
    """Reduce the points to the means of groups of neighbours, at most `buckets` of them."""
    size = math.ceil(len(points) / buckets)
    line = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        numbers = [value for _, value in group if not math.isnan(value)]
        middle = fmean(step for step, _ in group)
        line.append((middle, fmean(numbers) if numbers else math.nan))
    return line


def trend(points: Sequence[Point], buckets: int) -> list[Point]:
    """Smooth a noisy series: take means over neighbours on both sides, so that the line doesn't lag behind."""
    level = means(points, buckets)
    half = max(1, len(level) // 32)
    line = []
    for index, (step, value) in enumerate(level):
        # as many neighbours on one side as on the other, or a steep start would be flattened
        reach = min(half, index, len(level) - 1 - index)
        near = [other for _, other in level[index - reach : index + reach + 1] if not math.isnan(other)]
        line.append((step, value if math.isnan(value) else fmean(near)))
    return line


def segments(points: Iterable[Point]) -> list[list[Point]]:
    """Split a line where a value is NaN."""
    lines: list[list[Point]] = [[]]
    for point in points:
        if math.isnan(point[1]):
            lines.append([])
        else:
            lines[-1].append(point)
    return [line for line in lines if line]


def _cells(row: Row) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    if isinstance(row, Event):
        return row.metrics
    return row.__dict__ | row.model_extra if row.model_extra else row.__dict__


def _number(cell: Any) -> float | None:
    """The value of a cell: None if it is empty, NaN if it isn't a usable number."""
    if cell is None:
        return None
    if isinstance(cell, str):  # a cell of a column that `MetricRow` doesn't declare
        try:
            cell = float(cell)
        except ValueError:
            return None
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return None
    # a comparison never overflows, unlike float() of a very long int
    if not -_LARGEST < cell < _LARGEST:
        return math.nan
    return float(cell) if abs(cell) > 1 / _LARGEST else 0.0


def _value(point: Point) -> float:
    return point[1]
