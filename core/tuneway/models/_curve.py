"""Read the metrics out of rows of any kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from tuneway.models._metrics import metric_name

CurveRow = BaseModel | Mapping[str, Any]
"""A row of a result file, an event, or a plain mapping. It may have no metrics."""

Points = dict[tuple[str, int], float]
"""The values of metrics by name and step."""

_NOT_MEASURED = {"step", "total_steps"}
_GROUPS = ("scores/", "errors/", "usage/", "timing/")


def plain(row: CurveRow) -> dict[str, Any]:
    """Turn a row into a dict."""
    return row.model_dump() if isinstance(row, BaseModel) else dict(row)


def points(rows: Iterable[CurveRow]) -> Points:
    """All finite metrics by name and step. An event has them in `data`."""
    found: Points = {}
    for row in map(plain, rows):
        data = row.get("data")
        values = data if isinstance(data, dict) else row
        step = values.get("step")
        if isinstance(step, int):
            found |= {(name, step): value for name, value in numbers(values).items()}
    return found


def in_group(name: str) -> bool:
    """Whether a column of a result file is one of the many of a reinforcement step: of one grader, or of usage."""
    return name.startswith(_GROUPS)


def numbers(values: Mapping[str, Any] | None) -> dict[str, float]:
    """The finite metrics, by the names of the table of metrics."""
    return {
        metric_name(name): float(value)
        for name, value in (values or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if name not in _NOT_MEASURED and not in_group(name)
    }
