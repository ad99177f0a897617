"""What Dagster shows of data and models: numbers that it plots, tables, the loss curve, links."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema, get_dagster_logger

from tuneway._escape import file_name, markdown, one_line
from tuneway.models import metric_name
from tuneway.steps import data_summary, job_page, training_summary

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from dagster_tuneway.resource import FineTuningResource
    from tuneway import DatasetReport, Outcome
    from tuneway.models import Checkpoint, Event, MetricRow
    from tuneway.registry import Evaluation, ModelVersion, Verdict

_SHOWN = 300


def table(rows: Iterable[Mapping[str, Any]], **columns: str) -> MetadataValue[Any]:
    """A table whose columns have types: `table(rows, line="int", found="string")`."""
    records = [TableRecord({name: _cell(row.get(name)) for name in columns}) for row in rows]
    schema = TableSchema(columns=[TableColumn(name, kind) for name, kind in columns.items()])
    return MetadataValue.table(records, schema=schema)


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, int | float | bool):
        return value
    return one_line(value, _SHOWN)


def job_link(job_id: str, base_url: str) -> MetadataValue[Any]:
    """A job's page, where its service has one; else its id."""
    page = job_page(job_id, base_url)
    return MetadataValue.url(page) if page else MetadataValue.text(one_line(job_id))


# --- data


def problems(report: DatasetReport) -> dict[str, Any]:
    """The first errors and warnings, with their lines."""
    found: dict[str, Any] = {}
    for kind in ("errors", "warnings"):
        rows = [
            one.model_dump() | {"file": Path(each.path).name} for each in report.reports for one in getattr(each, kind)
        ]
        if rows:
            found[kind] = table(
                rows, file="string", line="int", rule="string", where="string", found="string", expected="string",
                hint="string",
            )  # fmt: skip
    return found


def uploaded_metadata(report: DatasetReport, file_id: str) -> dict[str, Any]:
    """What Dagster shows of uploaded data."""
    facts = data_metadata(report)
    return known({"file": file_id} | facts) | problems(report)


def data_metadata(report: DatasetReport) -> dict[str, Any]:
    """What is in the data, and what training on it would cost."""
    facts = data_summary(report)
    held_out = report.validation
    return {
        "rows": facts["rows"],
        "validation_rows": held_out.rows if held_out else None,
        "tokens": facts["tokens"],
        "tokens_are": "exact" if facts["tokens_exact"] else "estimated",
        "tokens_per_row": report.tokens.median,
        "trained_tokens": facts["trained_tokens"],
        "epochs": report.n_epochs,
        "estimated_cost_usd": facts["usd"],
        "size_bytes": facts["size_bytes"],
        "format": facts["format"],
        "sha256": facts["sha256"],
        "path": MetadataValue.path(report.path),
        "error_count": sum(one.error_count for one in report.reports),
        "warning_count": sum(one.warning_count for one in report.reports),
    }


def known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what isn't known."""
    return {name: value for name, value in metadata.items() if value is not None}


# --- a model


def model_metadata(outcome: Outcome, tuneway: FineTuningResource, instance: DagsterInstance) -> dict[str, Any]:
    """What came of a training: numbers over time, the curve, checkpoints, cost, and where to read on."""
    job, facts = outcome.job, training_summary(outcome)
    return known(
        {
            "summary": MetadataValue.md(in_words(outcome)),
            "loss": loss_line(outcome),
            "loss_curve": loss_curve(outcome),
            "fine_tuned_model": outcome.model,
            "base_model": job.model,
            "trained_by": facts["trainer"],
            **{name: float(value) for name, value in facts["metrics"].items()},
            "trained_tokens": facts["trained_tokens"],
            "duration_seconds": None if facts["seconds"] is None else float(facts["seconds"]),
            "cost_usd": facts["usd"],
            "seed": job.seed,
            "checkpoints": checkpoint_table(outcome.checkpoints),
            "job": job_link(job.id, outcome.service_url),
            "report": report_page(outcome, tuneway, instance),
            "notes": "\n".join(outcome.missing) or None,
        }
    )


def in_words(outcome: Outcome) -> str:
    """What trained the model, in a sentence."""
    job = outcome.job
    model = markdown(outcome.model) if outcome.model else "A model that the service doesn't name"
    by = f", trained by {markdown(outcome.trainer)}" if outcome.trainer else ""
    method = (job.method or {}).get("type")
    how = f" ({markdown(method)})" if method else ""
    tokens = f" on {job.trained_tokens:,} tokens" if job.trained_tokens else ""
    base = f"tuned from {markdown(job.model)}" if job.model else "tuned"
    return f"{model}: {base}{how}{by}{tokens}, by job {markdown(job.id)}."


def loss_line(outcome: Outcome) -> str | None:
    """The training loss as a line of text: Dagster shows Markdown longer than a line as a link only."""
    from tuneway.report import sparkline

    by_step = sorted((step, value) for (name, step), value in outcome.points.items() if name == "train_loss")
    losses = [loss for _, loss in by_step if loss > 0]
    if not losses:
        return None
    line = sparkline([math.log(loss) for loss in losses])
    return f"{line}  {losses[0]:.3g} → {losses[-1]:.3g} in {len(losses):,} steps, log scale"


def loss_curve(outcome: Outcome) -> MetadataValue[Any] | None:
    """The losses by step as an image inside the text; a PNG where a renderer is installed."""
    from tuneway.errors import MissingExtra
    from tuneway.report import curve_png, curve_svg, data_uri

    if not outcome.points:
        return None
    rows: list[Event | MetricRow] = [*outcome.events, *outcome.trained.rows]
    try:
        image: str | bytes = curve_png(rows, outcome.checkpoints, zoom=1)
    except MissingExtra:
        image = curve_svg(rows, outcome.checkpoints, theme="light")
    return MetadataValue.md(f"![Loss by training step]({data_uri(image)})")


def checkpoint_table(checkpoints: Sequence[Checkpoint]) -> MetadataValue[Any] | None:
    """The checkpoints, one in each row."""
    if not checkpoints:
        return None
    rows = [
        {
            **{metric_name(name): value for name, value in (one.metrics or {}).items()},
            "step": one.step_number,
            "model": one.fine_tuned_model_checkpoint,
        }
        for one in sorted(checkpoints, key=lambda one: one.step_number or 0)
    ]
    names = sorted({name for row in rows for name in row} - {"step", "model"})
    return table(rows, step="int", **dict.fromkeys(names, "float"), model="string")


def report_page(outcome: Outcome, tuneway: FineTuningResource, instance: DagsterInstance) -> MetadataValue[Any] | None:
    """The whole report as an HTML page in a file or in an object store; None if it can't be written."""
    from tuneway.errors import TunewayError
    from tuneway.report import Report, write_report

    try:
        place, file = tuneway.reports, file_name(outcome.job.id, ".html")
        if place is not None and "://" in place:
            return MetadataValue.url(write_report(Report.of(outcome), f"{place.rstrip('/')}/{file}"))
        folder = Path(place or Path(instance.storage_directory()) / "tuneway").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return MetadataValue.path(write_report(Report.of(outcome), folder / file))
    except (TunewayError, OSError, NotImplementedError) as error:
        get_dagster_logger("tuneway").warning("There is no report: %s", one_line(error, 1000))
        return None  # a missing report is no reason to fail a training


# --- a registered version


def version_metadata(version: ModelVersion) -> dict[str, Any]:
    """Where a version stands in the registry."""
    return known(
        {
            "model": version.name,
            "version": version.version,
            "model_id": version.model_id,
            "aliases": ", ".join(version.aliases) or None,
            "warnings": "\n".join(version.warnings) or None,
            **{name: float(value) for name, value in version.record.metrics.items()},
        }
    )


def verdict_metadata(verdict: Verdict) -> dict[str, Any]:
    """What a gate said, and the numbers that it said it on."""
    numbers = {name: float(value) for name, value in verdict.numbers.items() if value is not None}
    return known({**numbers, "compared_with": verdict.compared_with})


def evaluation_metadata(evaluation: Evaluation) -> dict[str, Any]:
    """How both models did, with the questions that tell most."""
    rows = [sample.model_dump() for sample in evaluation.samples]
    return {
        "answers": table(
            rows, question="string", expected="string", base="string", tuned="string", base_score="float",
            tuned_score="float",
        )
    }  # fmt: skip
