"""The pages that list jobs, files and models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway._words import duration, moment_utc, size
from tuneway.report._markup import Markup, h
from tuneway_service.devices import said
from tuneway_service.page.frame import ago, bar, facts, figure, job_link, page, section, status, table, tiles
from tuneway_service.states import TERMINAL
from tuneway_service.store import events, files, jobs, models

if TYPE_CHECKING:
    from tuneway_service.slots import Slots
    from tuneway_service.store.database import Connection, Row
    from tuneway_service.store.records import JobRow

SHOWN = 50


def gather_jobs(connection: Connection, after: str | None) -> dict[str, Any]:
    """What the page of jobs shows."""
    rows = jobs.rows(connection, after=after, limit=SHOWN, metadata={})
    counts = jobs.counts(connection)
    last = {row.id: events.last_metrics(connection, row.seq) for row in rows[:SHOWN]}
    return {"rows": rows[:SHOWN], "more": len(rows) > SHOWN, "counts": counts, "last": last}


def jobs_page(found: dict[str, Any], base_url: str, bases: dict[str, str], slots: Slots) -> str:
    """All jobs, newest first."""
    counts = found["counts"]
    running = sum(counts.get(word, 0) for word in ("running", "pausing"))
    waiting = sum(counts.get(word, 0) for word in ("validating_files", "queued"))
    figures = tiles(
        [
            ("Training", running),
            ("Waiting", waiting),
            ("Succeeded", counts.get("succeeded", 0)),
            ("Failed", counts.get("failed", 0)),
        ]
    )
    served = ", ".join(name if name == trainer else f"{name} (trained by {trainer})" for name, trainer in bases.items())
    rows = [_job_row(row, found["last"][row.id]) for row in found["rows"]]
    listed = table(["Job", "Status", "Progress", "Loss", "Model", "Created"], rows, empty="No jobs yet.")
    older = h("p", h("a", "Older jobs", href=f"/?after={found['rows'][-1].id}")) if found["more"] else None
    return page(
        "Jobs",
        "/",
        h("h1", "Fine-tuning jobs"),
        facts(h("code", base_url), f"models: {served}"),
        h("div", figures, *_devices(slots), section("Jobs", listed, older), id="jobs"),
        live=True,
    )


def _devices(slots: Slots) -> list[Markup]:
    """Which job has which GPU."""
    holders = [(name, slots.holder(name)) for name in slots.devices or ()]
    rows = [(said([name]), job_link(job_id) if job_id else "free") for name, job_id in holders]
    return [section("GPUs", table(["GPU", "Job"], rows, empty=""))] if rows else []


def _job_row(row: JobRow, last: dict[str, Any] | None) -> list[object]:
    suffix = row.body.suffix
    name = Markup("") if suffix is None else h("div", suffix, class_="note")
    took = row.finished_at - row.created_at if row.finished_at else None
    return [
        h("div", job_link(row.id), name),
        status(row.status),
        progress(row, last) if row.status not in TERMINAL else f"took {duration(took or 0)}",
        figure(last and last.get("train_loss")),
        row.body.model,
        ago(row.created_at),
    ]


def progress(row: JobRow, last: dict[str, Any] | None) -> object:
    """How far a training is, and how long it will still take."""
    if last is None:
        return ""
    left = row.estimated_finish - last["at"] if row.estimated_finish else None
    text = f"{last['step']:,} / {last['total_steps']:,}" + (
        f", {duration(max(0, left))} left" if left is not None else ""
    )
    return h("div", bar(last["step"], last["total_steps"]), h("div", text, class_="note"))


def gather_files(connection: Connection, after: str | None) -> tuple[list[Row], bool]:
    """What the page of files shows."""
    rows = files.rows(connection, purpose=None, after=after, limit=SHOWN, newest_first=True)
    return rows[:SHOWN], len(rows) > SHOWN


def files_page(rows: list[Row], *, more: bool) -> str:
    """All files, newest first."""
    listed = table(
        ["File", "Name", "Purpose", "Size", "Created", "Expires", "SHA-256"],
        (
            [
                h("a", h("code", row["id"]), href=f"/v1/files/{row['id']}/content"),
                row["filename"],
                row["purpose"],
                size(row["bytes"]),
                ago(row["created_at"]),
                moment_utc(row["expires_at"]) or "",
                h("code", row["sha256"][:12], title=row["sha256"]),
            ]
            for row in rows
        ),
        empty="No files yet.",
    )
    older = h("p", h("a", "Older files", href=f"/files?after={rows[-1]['id']}")) if more else None
    return page("Files", "/files", h("h1", "Files"), h("div", listed, older, class_="first"))


def models_page(rows: list[Row], cards: dict[str, dict[str, Any]], bases: dict[str, str]) -> str:
    """The tuned models and the base models, with what each really is."""
    tuned = table(
        ["Model", "Trainer", "Job", "Created"],
        ([h("code", row["id"]), row["trainer"], job_link(row["job_id"]), ago(row["created_at"])] for row in rows[::-1]),
        empty="No model has been trained yet.",
    )
    base = table(
        ["Name", "Trainer", "What it really is"],
        ([h("code", name), trainer, cards[trainer].get("summary", "")] for name, trainer in bases.items()),
        empty="",
    )
    return page("Models", "/models", h("h1", "Models"), section("Tuned here", tuned), section("Base models", base))


def gather_models(connection: Connection) -> list[Row]:
    """What the page of models shows."""
    return models.newest(connection, SHOWN)
