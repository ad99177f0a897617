"""One job's page: its status, curves, checkpoints and events, and a form to ask its model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneway._words import duration, flat, moment_utc
from tuneway.report import curve_svg
from tuneway.report._markup import Markup, h
from tuneway_service.page.frame import ago, button, facts, figure, page, pieces, section, status, table
from tuneway_service.page.overview import progress
from tuneway_service.states import TABLE, TERMINAL, Move
from tuneway_service.store import events, jobs, models

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuneway_service.store.database import Connection, Row
    from tuneway_service.store.records import JobRow

EVENTS_SHOWN = 40
POINTS = 2000


@dataclass(frozen=True)
class JobView:
    """Everything that a job's page shows."""

    row: JobRow
    job: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    last: Mapping[str, Any] | None
    checkpoints: Sequence[Mapping[str, Any]]
    events: Sequence[Row]
    askable: Sequence[str]


@dataclass(frozen=True)
class Asked:
    """A question, and the answer of each model."""

    question: str
    model: str
    answers: Sequence[tuple[str, str]]


def gather(connection: Connection, job_id: str) -> JobView:
    """Read it from the database."""
    row = jobs.find(connection, job_id)
    place = row.seq
    checkpoints = [
        events.show_checkpoint(item) for item in events.checkpoint_rows(connection, place, after=None, limit=9)
    ]
    names = [row.fine_tuned_model, *(item["fine_tuned_model_checkpoint"] for item in checkpoints)]
    return JobView(
        row=row,
        job=jobs.show(row),
        metrics=events.metrics(connection, place, most=POINTS, steps=row.step),
        last=events.last_metrics(connection, place),
        checkpoints=checkpoints,
        events=events.messages(connection, place, EVENTS_SHOWN),
        askable=[name for name in names if name and models.find(connection, name)],
    )


def job_page(view: JobView, asked: Asked | None = None) -> str:
    """The page."""
    job = view.job
    return page(
        job["id"],
        "/",
        h("div", _head(view), _curves(view), _checkpoints(view), id="job"),
        _ask_box(view, asked),
        h("div", _events(view), _settings(job), id="log"),
        live=view.row.status not in TERMINAL,
    )


def _head(view: JobView) -> Markup:
    job, row = view.job, view.row
    took = duration(job["finished_at"] - job["created_at"]) if job["finished_at"] else None
    error = job["error"]
    moves = TABLE[row.status]
    steering = [(Move.PAUSE, "Pause"), (Move.RESUME, "Resume"), (Move.CANCEL, "Cancel")]
    return pieces(
        h("h1", job["fine_tuned_model"] or job["id"]),
        facts(
            status(job["status"]),
            job["id"] if job["fine_tuned_model"] else None,
            f"{job['method']['type']} on {job['model']}",
            f"trained by {row.trainer}",
            f"created {ago(job['created_at'])}",
            took and f"took {took}",
            job["trained_tokens"] and f"{job['trained_tokens']:,} tokens",
        ),
        h("div", h("strong", error["code"]), f" {error['message']}", class_="failure") if error else None,
        h("div", progress(row, dict(view.last)), class_="wide-progress")
        if view.last and row.status not in TERMINAL
        else None,
        h(
            "div",
            *(button(f"/jobs/{job['id']}/{move}", name) for move, name in steering if move in moves),
            class_="buttons",
        ),
    )


def _curves(view: JobView) -> Markup | None:
    if not view.metrics:
        return None
    kinds = {"loss": "train_loss", "accuracy": "train_mean_token_accuracy", "reward": "train_mean_reward"}
    shown = [kind for kind, name in kinds.items() if any(name in item for item in view.metrics)]
    drawn = [
        h("figure", Markup(curve_svg(view.metrics, metric=metric, width=560, height=300)), class_="curve")
        for metric in shown
    ]
    return section("Learning curves", h("div", *drawn, class_="charts"))


def _checkpoints(view: JobView) -> Markup | None:
    if not view.checkpoints:
        return None
    rows = (
        [
            item["step_number"],
            h("code", item["fine_tuned_model_checkpoint"]),
            figure(item["metrics"].get("train_loss")),
            figure(item["metrics"].get("full_valid_loss", item["metrics"].get("valid_loss"))),
            ago(item["created_at"]),
        ]
        for item in view.checkpoints
    )
    files = view.job["result_files"]
    result = h("p", h("a", "Result file", href=f"/v1/files/{files[0]}/content"), class_="note") if files else None
    return section(
        "Checkpoints", table(["Step", "Model", "Training loss", "Validation loss", "Created"], rows, empty=""), result
    )


def _ask_box(view: JobView, asked: Asked | None) -> Markup:
    if not view.askable:
        return h("section", id="ask")
    chosen = asked.model if asked else view.askable[0]
    options = [h("option", name, value=name, selected="selected" if name == chosen else None) for name in view.askable]
    form = h(
        "form",
        h(
            "textarea",
            asked.question if asked else "",
            name="question",
            rows=2,
            required="required",
            aria_label="Question",
            placeholder="Ask what it was taught…",
        ),
        h("div", h("select", *options, name="model", aria_label="Model"), h("button", "Ask"), class_="row"),
        method="post",
        action=f"/jobs/{view.job['id']}/ask#ask",
        class_="ask",
    )
    said = None
    if asked:
        said = h(
            "div",
            *(h("div", h("h3", name), h("pre", text or "(nothing)", class_="said")) for name, text in asked.answers),
            class_="answers",
        )
    return h("section", h("h2", "Ask the model"), h("article", form, said), id="ask")


def _events(view: JobView) -> Markup:
    rows = (
        [
            h("time", time.strftime("%H:%M:%S", time.gmtime(row["created_at"])), title=moment_utc(row["created_at"])),
            h("span", row["message"], class_=f"level {row['level']}"),
        ]
        for row in view.events
    )
    return section("Events", table(["UTC", "Newest first"], rows, empty="None yet."))


def _settings(job: Mapping[str, Any]) -> Markup:
    method = job["method"][job["method"]["type"]]
    shown = flat(method) | {
        "seed": str(job["seed"]),
        "training file": job["training_file"],
        "validation file": job["validation_file"] or "",
    }
    shown |= {f"metadata {key}": value for key, value in (job["metadata"] or {}).items()}
    shown |= {name.replace("_", " "): str(value) for name, value in job["usage_metrics"].items()}
    names = {name: name.removeprefix("hyperparameters.").replace("_", " ") for name in shown}
    pairs = [h("div", h("dt", names[name]), h("dd", value)) for name, value in shown.items() if value]
    return section("Settings", h("dl", *pairs))


def base_of(view: JobView) -> str:
    """The model that the job started from."""
    return view.row.body.model
