"""The events and the checkpoints of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuneway_service.folder import kept_checkpoints
from tuneway_service.ids import new_id, now
from tuneway_service.store.paging import rows_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.store.database import Connection, Row


def add(
    connection: Connection,
    job: int,
    message: str,
    *,
    level: str = "info",
    data: Mapping[str, Any] | None = None,
    mark: str | None = None,
    at: int | None = None,
) -> None:
    """Add an event; of several with the same mark, only the first is added."""
    connection.execute(
        "INSERT OR IGNORE INTO events (id, job, created_at, level, type, message, data, mark)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new_id("ftevent-"),
            job,
            at or now(),
            level,
            "metrics" if data else "message",
            message,
            json.dumps(data) if data else None,
            mark,
        ),
    )


def show(row: Row) -> dict[str, Any]:
    """An event as the API sends it."""
    return {
        "id": row["id"],
        "object": "fine_tuning.job.event",
        "created_at": row["created_at"],
        "level": row["level"],
        "message": row["message"],
        "type": row["type"],
        "data": json.loads(row["data"]) if row["data"] else {},
    }


def rows(connection: Connection, job: int, *, after: str | None, limit: int) -> list[Row]:
    """One row more than a page of a job's events, newest first."""
    return rows_after(connection, "events", after, kind="event", limit=limit, within={"job": job})


def put_in_order(connection: Connection, job: int) -> None:
    """Order a job's events by their times; those of one second stay as they are."""
    found = connection.execute("SELECT * FROM events WHERE job = ? ORDER BY seq", (job,)).fetchall()
    ordered = sorted(found, key=lambda row: row["created_at"])
    if ordered == found:
        return
    connection.execute("DELETE FROM events WHERE job = ?", (job,))
    names = [name for name in found[0].keys() if name != "seq"]  # noqa: SIM118 - not a mapping
    connection.executemany(
        f"INSERT INTO events ({', '.join(names)}) VALUES ({', '.join('?' for _ in names)})",  # noqa: S608
        [tuple(row[name] for name in names) for row in ordered],
    )


def messages(connection: Connection, job: int, limit: int) -> list[Row]:
    """A job's newest events, without its metrics."""
    return connection.execute(
        "SELECT * FROM events WHERE job = ? AND type = 'message' ORDER BY seq DESC LIMIT ?", (job, limit)
    ).fetchall()


def metrics(connection: Connection, job: int, *, steps: int, most: int) -> list[dict[str, Any]]:
    """A job's metrics in order: all, or about `most` of them, evenly chosen."""
    stride = max(1, steps // most)
    found = connection.execute(
        "SELECT data FROM events WHERE job = ? AND type = 'metrics' AND seq % ? = 0 ORDER BY seq", (job, stride)
    )
    return [json.loads(row["data"]) for row in found]


def last_metrics(connection: Connection, job: int) -> dict[str, Any] | None:
    """The last metrics, and their time; None if there are none."""
    row = connection.execute(
        "SELECT data, created_at FROM events WHERE job = ? AND type = 'metrics' ORDER BY seq DESC LIMIT 1", (job,)
    ).fetchone()
    return None if row is None else json.loads(row["data"]) | {"at": row["created_at"]}


# checkpoints


def show_checkpoint(row: Row) -> dict[str, Any]:
    """A checkpoint as the API sends it."""
    return {
        "id": row["id"],
        "object": "fine_tuning.job.checkpoint",
        "created_at": row["created_at"],
        "fine_tuning_job_id": row["job_id"],
        "fine_tuned_model_checkpoint": row["model"],
        "step_number": row["step"],
        "metrics": json.loads(row["metrics"]),
    }


def add_checkpoint(
    connection: Connection, job: int, *, step: int, model: str, metrics: Mapping[str, Any], at: int
) -> bool:
    """Record a checkpoint; returns whether it is new."""
    done = connection.execute(
        "INSERT OR IGNORE INTO checkpoints (id, job, created_at, step, model, metrics) VALUES (?, ?, ?, ?, ?, ?)",
        (new_id("ftckpt_"), job, at, step, model, json.dumps({"step": step, **metrics})),
    )
    return done.rowcount == 1


def drop_old_checkpoints(connection: Connection, job: int) -> list[Row]:
    """Delete all checkpoints but the newest, or those with the best reward; returns the deleted ones."""
    found = connection.execute("SELECT * FROM checkpoints WHERE job = ? ORDER BY step", (job,)).fetchall()
    kept = kept_checkpoints({row["step"]: json.loads(row["metrics"]) for row in found})
    dropped = [row for row in found if row["step"] not in kept]
    connection.executemany(
        "DELETE FROM checkpoints WHERE job = ? AND step = ?", [(job, row["step"]) for row in dropped]
    )
    return dropped


def checkpoint_rows(connection: Connection, job: int, *, after: str | None, limit: int) -> list[Row]:
    """One row more than a page of a job's checkpoints, newest first."""
    return rows_after(
        connection,
        "checkpoints",
        after,
        kind="checkpoint",
        limit=limit,
        within={"job": job},
        order="step",
        columns="*, (SELECT id FROM jobs WHERE seq = job) AS job_id",
    )
