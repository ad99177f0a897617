"""The report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from tuneway._version import __version__
from tuneway._words import duration, moment_utc, money, shortened
from tuneway.models import Measure, Role
from tuneway.report import _sections as sections
from tuneway.report._answers import answers
from tuneway.report._data import data_section
from tuneway.report._inputs import Report
from tuneway.report._lineage import lineage_section
from tuneway.report._markup import Markup, h
from tuneway.report._scale import brief, figure
from tuneway.report._series import (
    Series,
    all_series,
    best_checkpoint,
    checkpoint_rows,
    measured,
)

# Even if the escaping of a text failed, the page could load nothing and run no script.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def render_html(report: Report) -> str:
    """Write the report as a self-contained HTML page, without network access and scripts."""
    charts = all_series([*checkpoint_rows(report.checkpoints), *report.rows, *report.events])
    title = report.job.fine_tuned_model or report.job.id
    parts = [
        _header(report, title),
        _tiles(report, charts),
        _failure(report),
        *(h("p", shortened(note, 1000), class_="warning") for note in report.notes),
        _section("Learning curves", sections.curves(charts, report.checkpoints)),
        _section("Checkpoints", sections.checkpoint_table(report.checkpoints)),
        _section("Sample answers", answers(report.evaluation, report.samples)),
        _section("Training data", data_section(report.data)),
        _section("Configuration", sections.configuration(report.job)),
        _section("Lineage", lineage_section(report.job, report.registered)),
        _section("Warnings", sections.log(report)),
        h("footer", f"Made by Tuneway {__version__} on {report.made_at:%Y-%m-%d %H:%M %Z}."),
    ]
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("link", rel="icon", href="data:,"),
        h("title", f"{title} · fine-tuning report"),
        h("style", Markup(_stylesheet())),
    )
    return f"<!doctype html>\n{h('html', head, h('body', h('main', *parts)), lang='en')}\n"


def _stylesheet() -> str:
    return resources.files("tuneway.report").joinpath("report.css").read_text(encoding="utf-8")


def _section(name: str, body: Markup | None) -> Markup | None:
    return h("section", h("h2", name), body) if body else None


def _header(report: Report, title: str) -> Markup:
    job = report.job
    trainer = job.trainer
    facts = [
        f"from {job.model}" if job.model else None,
        f"trained by {trainer}" if trainer else None,
        job.id if title != job.id else None,
        moment_utc(job.created_at),
    ]
    return h(
        "header",
        h("p", "Fine-tuning report", class_="over"),
        h("h1", shortened(title, 300)),
        h(
            "p",
            h("span", shortened(job.status, 60), class_=f"status {job.phase}"),
            *(h("span", shortened(fact, 300)) for fact in facts if fact),
            class_="facts",
        ),
    )


def _failure(report: Report) -> Markup | None:
    fault = report.job.error
    if fault is None or not (fault.message or fault.code):
        return None
    where = f" ({fault.param})" if fault.param else ""
    return h(
        "div",
        h("strong", f"{fault.code or 'failed'}{where}"),
        h("p", shortened(fault.message or "", 2000), dir="auto"),
        class_="failure",
        role="alert",
    )


def _tiles(report: Report, charts: Mapping[Measure, Sequence[Series]]) -> Markup | None:
    """Show the most important figures."""
    job = report.job
    tiles: list[Markup | None] = [_metric_tile(report, metric, series) for metric, series in charts.items()]
    if job.trained_tokens is not None:
        tiles.append(_tile("Trained tokens", f"{job.trained_tokens:,}"))
    if job.created_at is not None and job.finished_at is not None and 0 <= job.finished_at - job.created_at < 1e10:
        tiles.append(_tile("Duration", duration(job.finished_at - job.created_at), "from creation to end"))
    if evaluation := report.evaluation:
        tiles.append(_tile("Score", figure(evaluation.tuned.score), f"base model {figure(evaluation.base.score)}"))
    tiles.append(_cost_tile(report))
    return h("div", *tiles, class_="tiles") if any(tiles) else None


def _cost_tile(report: Report) -> Markup | None:
    """Show the cost: as given, as registered, or as estimated by the check of the data."""
    cost = report.cost or (report.registered.record.cost if report.registered else None)
    if cost is not None:
        dated = f"prices of {cost.price_date}" if cost.price_date else None
        return _tile("Cost, estimated" if cost.estimated else "Cost", money(cost.amount, cost.currency), dated)
    estimate = report.data.cost if report.data else None
    # a service that names its trainer maps model names to its own models, so the price of the name doesn't apply
    if estimate is None or report.job.trainer:
        return None
    price = f"at {money(estimate.usd_per_million, 'USD')} a million tokens"
    dated = f", prices of {estimate.prices_as_of}" if estimate.prices_as_of else ""
    return _tile("Cost, estimated", money(estimate.usd, "USD"), f"{price}{dated}")


def _metric_tile(report: Report, metric: Measure, series: Sequence[Series]) -> Markup:
    """Show a metric's value at the best checkpoint, or else at the end."""
    best = best_checkpoint(report.checkpoints)
    held_out = [one for one in series if one.role is not Role.TRAIN]
    shown = held_out[-1] if held_out else series[0]
    (first, start), (last, end) = shown.finite[0], shown.finite[-1]
    label = f"{'Validation' if held_out else 'Training'} {metric}"
    value = measured(best, metric) if best else None
    if best is not None and value is not None:
        return _tile(label, figure(value), f"best checkpoint, step {best.step_number}")
    return _tile(
        label,
        figure(end),
        f"from {brief(start)} at step {first:.0f}" if last > first else f"at step {last:.0f}",
    )


def _tile(name: str, value: str, aside: str | None = None) -> Markup:
    return h(
        "div",
        h("p", name, class_="over"),
        h("p", value, class_="figure"),
        h("p", aside, class_="note") if aside else None,
    )
