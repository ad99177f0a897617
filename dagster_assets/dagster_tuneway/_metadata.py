"""What Dagster shows of data and models: numbers that it plots, tables, the loss curve, links."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema

from tuneway.steps import data_summary, job_page, training_summary

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from dagster_tuneway.resource import FineTuningResource
    from tuneway import DatasetReport, Job
    from tuneway.models import Checkpoint
    from tuneway.registry import Evaluation, ModelVersion, Verdict
    from tuneway.report import Report

_SHOWN = 300


def table(rows: Iterable[Mapping[str, Any]], **columns: str) -> MetadataValue[Any]:
    """A table whose columns have types: `table(rows, line="int", found="string")`."""
    records = [TableRecord({name: _cell(row.get(name)) for name in columns}) for row in rows]
    schema = TableSchema(columns=[TableColumn(name, kind) for name, kind in columns.items()])
    return MetadataValue.table(records, schema=schema)


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, int | float | bool):
        return value
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def job_link(job_id: str, base_url: str) -> MetadataValue[Any]:
    """A job's page, where its service has one; else its id."""
    page = job_page(job_id, base_url)
    return MetadataValue.url(page) if page else MetadataValue.text(job_id)


# --- data


def problems(report: DatasetReport) -> dict[str, Any]:
    """The first errors and warnings, with their lines."""
    reports = [report] if report.validation is None else [report, report.validation]
    found: dict[str, Any] = {}
    for kind in ("errors", "warnings"):
        rows = [one.model_dump() | {"file": Path(each.path).name} for each in reports for one in getattr(each, kind)]
        if rows:
            found[kind] = table(
                rows, file="string", line="int", rule="string", where="string", found="string", expected="string",
                hint="string",
            )  # fmt: skip
    return found


def data_metadata(report: DatasetReport) -> dict[str, Any]:
    """What is in the data, and what training on it would cost."""
    facts = data_summary(report, report.path)
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
        "error_count": report.error_count + (held_out.error_count if held_out else 0),
        "warning_count": report.warning_count + (held_out.warning_count if held_out else 0),
    }


def known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Without what isn't known; whole numbers that Dagster plots beside fractions stay whole."""
    return {name: value for name, value in metadata.items() if value is not None}


# --- a model


def model_metadata(report: Report, tuneway: FineTuningResource, instance: DagsterInstance) -> dict[str, Any]:
    """What came of a training: numbers over time, the curve, checkpoints, cost, and where to read on."""
    job, base_url = report.job, tuneway.client.base_url
    facts = training_summary(report, base_url)
    return known(
        {
            "summary": MetadataValue.md(in_words(job, facts)),
            "loss": loss_line(report),
            "loss_curve": loss_curve(report),
            "fine_tuned_model": job.fine_tuned_model,
            "base_model": job.model,
            "trained_by": facts["trainer"],
            **{name: float(value) for name, value in facts["metrics"].items()},
            "trained_tokens": job.trained_tokens,
            "duration_seconds": None if facts["seconds"] is None else float(facts["seconds"]),
            "cost_usd": facts["usd"],
            "seed": job.seed,
            "checkpoints": checkpoint_table(report.checkpoints),
            "job": job_link(job.id, base_url),
            "report": report_page(report, tuneway, instance),
            "notes": "\n".join(report.notes) or None,
        }
    )


def in_words(job: Job, facts: Mapping[str, Any]) -> str:
    """What trained the model, in a sentence."""
    model = f"`{job.fine_tuned_model}`" if job.fine_tuned_model else "A model that the service doesn't name"
    by = f", trained by `{facts['trainer']}`" if facts["trainer"] else ""
    method = (job.method or {}).get("type")
    how = f" ({method})" if method else ""
    tokens = f" on {job.trained_tokens:,} tokens" if job.trained_tokens else ""
    return f"{model}: tuned from `{job.model}`{how}{by}{tokens}, by job `{job.id}`."


def loss_line(report: Report) -> str | None:
    """The training loss as a line of text: of Markdown longer than a line Dagster shows a link."""
    from tuneway.report import sparkline

    told = [event.metrics.get("train_loss") for event in report.events if event.type == "metrics"]
    losses = [loss for loss in told if isinstance(loss, int | float) and loss > 0]
    if not losses:
        return None
    line = sparkline([math.log(loss) for loss in losses])
    return f"{line}  {losses[0]:.3g} → {losses[-1]:.3g} in {len(losses):,} steps, log scale"


def loss_curve(report: Report) -> MetadataValue[Any] | None:
    """The losses by step as an image inside of the text; a PNG where a renderer is installed."""
    from tuneway.errors import MissingExtra
    from tuneway.report import curve_png, curve_svg, data_uri

    rows = [*report.events, *report.rows]
    if not training_summary(report, "")["metrics"]:
        return None
    try:
        image: str | bytes = curve_png(rows, report.checkpoints, zoom=1)
    except MissingExtra:
        image = curve_svg(rows, report.checkpoints, theme="light")
    return MetadataValue.md(f"![Loss by training step]({data_uri(image)})")


def checkpoint_table(checkpoints: Sequence[Checkpoint]) -> MetadataValue[Any] | None:
    """The checkpoints, one a row."""
    if not checkpoints:
        return None
    names = sorted({name for one in checkpoints for name in one.metrics or {}} - {"step"})
    rows = [
        {"step": one.step_number, **(one.metrics or {}), "model": one.fine_tuned_model_checkpoint}
        for one in sorted(checkpoints, key=lambda one: one.step_number or 0)
    ]
    return table(rows, step="int", **dict.fromkeys(names, "float"), model="string")


def report_page(report: Report, tuneway: FineTuningResource, instance: DagsterInstance) -> MetadataValue[Any] | None:
    """The whole report as a page of its own, in a file; None where nothing can be kept."""
    from tuneway.report import render_html

    try:
        folder = Path(tuneway.reports or Path(instance.storage_directory()) / "tuneway").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / f"{report.job.id}.html"
        page.write_text(render_html(report), encoding="utf-8")
    except (OSError, NotImplementedError):
        return None  # a report is worth reading, not worth failing a training for
    return MetadataValue.path(str(page))


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
