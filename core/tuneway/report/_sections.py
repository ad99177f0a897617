"""The sections of the page, one function for each. A section without content is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneway._words import flat, shortened
from tuneway.models import Checkpoint, Job, Measure
from tuneway.report._inputs import Report
from tuneway.report._markup import Markup, h, join
from tuneway.report._parts import MOST, facts_list, more, table, tag
from tuneway.report._scale import brief, figure
from tuneway.report._series import Series, best_checkpoint, checkpoint_steps, measured
from tuneway.report._svg import draw, sample, title_of
from tuneway.report._theme import PAGE


def curves(charts: Mapping[Measure, Sequence[Series]], checkpoints: Sequence[Checkpoint]) -> Markup:
    """Show a chart for each metric."""
    if not charts:
        return h("p", "No metrics have been reported.", class_="note")
    figures = [_chart(metric, series, checkpoints, alone=len(charts) == 1) for metric, series in charts.items()]
    broken = sum(len(one.points) - len(one.finite) for many in charts.values() for one in many)
    words = "1 value is not a number" if broken == 1 else f"{broken:,} values are not numbers"
    note = h("p", f"{words}; the lines have gaps there.", class_="note") if broken else None
    return join(h("div", *figures, class_="charts"), note)


def _chart(metric: Measure, series: Sequence[Series], checkpoints: Sequence[Checkpoint], *, alone: bool) -> Markup:
    width, height = (720, 250) if alone else (520, 260)
    image = draw(series, checkpoints, metric=metric, theme=PAGE, width=width, height=height, in_page=True)
    keys = [h("span", sample(one.role, PAGE), f" {one.role} ", h("b", brief(one.finite[-1][1]))) for one in series]
    if checkpoints:
        keys.append(h("span", sample(None, PAGE), " checkpoint"))
    return h(
        "figure", h("figcaption", h("h3", title_of(metric)), *keys), image, class_="chart wide" if alone else "chart"
    )


def checkpoint_table(checkpoints: Sequence[Checkpoint]) -> Markup | None:
    """Show the checkpoints with their validation metrics."""
    if not checkpoints:
        return None
    best = best_checkpoint(checkpoints)
    metrics = [metric for metric in Measure if any(measured(one, metric) is not None for one in checkpoints)]
    rows = []
    for one in sorted(checkpoints, key=lambda checkpoint: checkpoint.step_number or 0):
        values = [measured(one, metric) for metric in metrics]
        chosen = one is best and len(checkpoints) > 1
        rows.append(
            h(
                "tr",
                h("td", f"{one.step_number:,}" if checkpoint_steps([one]) else "–", class_="number"),
                *(h("td", "–" if value is None else figure(value), class_="number") for value in values),
                h(
                    "td",
                    h("code", one.fine_tuned_model_checkpoint or one.id),
                    tag("best") if chosen else None,
                ),
                class_="best" if chosen else None,
            )
        )
    return table(["Step", *(f"Validation {metric}" for metric in metrics), "Model"], rows, numbers=1 + len(metrics))


def configuration(job: Job) -> Markup:
    """Show the settings of the training."""
    method = dict(job.method or {})
    kind = method.pop("type", None)
    # OpenAI's JSON nests a method's settings below the method's name, which isn't shown
    settings = flat(job.hyperparameters or {}) | {
        name.removeprefix(f"{kind}.").removeprefix("hyperparameters."): value for name, value in flat(method).items()
    }
    facts: dict[str, object] = {
        "Base model": job.model,
        "Trainer": job.trainer,
        "Method": kind,
        **settings,
        "Seed": job.seed,
        "Training file": job.training_file,
        "Validation file": job.validation_file,
        "Organisation": job.organization_id,
    }
    return join(facts_list(facts), facts_list(job.metadata or {}, name="Metadata"))


def log(report: Report) -> Markup | None:
    """Show the warnings and errors of the job's log."""
    shown = [event for event in report.events if event.level in ("warn", "warning", "error")]
    if not shown:
        return None
    rows = [
        h("tr", h("td", tag(event.level or "")), h("td", shortened(event.message or "–", 1000), dir="auto"))
        for event in shown[:MOST]
    ]
    return join(table(["", "Message"], rows), more(len(shown)))
