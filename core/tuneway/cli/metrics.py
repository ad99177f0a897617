"""`metrics`: the curve of a training and its numbers."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from tuneway._escape import csv_cell
from tuneway._words import figure
from tuneway.cli._connect import Connection
from tuneway.cli._output import Output
from tuneway.cli._steps import JobArgument, job_id_in

if TYPE_CHECKING:
    from tuneway.report import Report

SHOWN = 12
"""Rows of the table on a terminal. Without a terminal, all rows are printed."""

T = TypeVar("T")
CurveMetric = Literal["loss", "accuracy", "reward"]


def metrics(
    job: JobArgument,
    *,
    metric: Annotated[CurveMetric, typer.Option(help="The metric of the curve.")] = "loss",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all steps as CSV.")] = False,
    connection: Connection,
    output: Output,
) -> None:
    """Show the curve of a training and its metrics, step by step.

    Examples:
        tuneway metrics ftjob-abc123
        tuneway metrics ftjob-abc123 --metric accuracy
        tuneway metrics ftjob-abc123 --csv > metrics.csv
    """
    from tuneway.report import gather

    with connection.client() as client:
        report = gather(client, job_id_in(job))
    rows = _rows(report)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if output.json:
        for row in rows:
            output.record(row)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(map(csv_cell, columns))
        writer.writerows([csv_cell(row.get(name)) for name in columns] for row in rows)
    else:
        from tuneway.models._curve import in_group

        columns = [name for name in columns if not in_group(name)]
        terminal = output.out.is_terminal
        if terminal:
            _draw(report, metric, output)
        shown = _spread(rows, SHOWN) if terminal else rows
        output.table(columns, [[_cell(row.get(name)) for name in columns] for row in shown], right=columns)
    if not rows:
        output.note(f"No metrics yet: the job is {report.job.status}.")
    for note in report.notes:
        output.note(note)


def _rows(report: Report) -> list[dict[str, float | str]]:
    """One row for each step: those of the result file, or of the log while there is no result file.

    Result files call some metrics by other names than logs do; here each has one name.
    """
    from tuneway.models import metric_name

    rows = [row.model_dump(exclude_none=True) for row in report.rows if hasattr(row, "model_dump")]
    rows = rows or [event.metrics for event in report.events if "step" in event.metrics]
    return [{metric_name(name): value for name, value in row.items() if name != "total_steps"} for row in rows]


def _draw(report: Report, metric: CurveMetric, output: Output) -> None:
    from tuneway.report import terminal_curve

    rows = [*report.rows, *report.events]
    width = min(output.out.width, 100)
    curve = terminal_curve(rows, width, checkpoints=report.checkpoints, metric=metric)
    output.out.print(curve + "\n", soft_wrap=True)


def _spread(rows: Sequence[T], limit: int) -> list[T]:
    """At most this many rows, evenly spread, with the first and the last."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (limit - 1))] for index in range(limit)]


def _cell(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if float(value).is_integer() else figure(value)
