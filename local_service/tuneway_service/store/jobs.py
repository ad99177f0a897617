"""The records of jobs, and the moves between their statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway_service.ids import new_id, now
from tuneway_service.refusals import not_found
from tuneway_service.states import TERMINAL, JobStatus, Move, after
from tuneway_service.store import events, webhooks
from tuneway_service.store.paging import place_of
from tuneway_service.store.records import JobRow, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.store.database import Connection, Row
    from tuneway_service.store.records import JobBody

ORGANIZATION = "org-local"


def show(row: JobRow) -> dict[str, Any]:
    """A job as the API sends it."""
    body = row.body
    knobs = body.requested if row.hyperparameters is None else row.hyperparameters
    method = body.method
    if row.hyperparameters is not None:
        method = {"type": body.method_name, body.method_name: {**body.method_settings, "hyperparameters": knobs}}
    return {
        "id": row.id,
        "object": "fine_tuning.job",
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "estimated_finish": row.estimated_finish,
        "status": row.status,
        "error": row.error,
        "model": body.model,
        "fine_tuned_model": row.fine_tuned_model,
        "training_file": body.training_file,
        "validation_file": body.validation_file,
        "result_files": [row.result_file] if row.result_file else [],
        "trained_tokens": row.trained_tokens,
        "method": method,
        "hyperparameters": {name: value for name, value in knobs.items() if name in COMMON},
        "seed": body.seed,
        "metadata": body.metadata,
        "integrations": body.integrations,
        "organization_id": ORGANIZATION,
        "user_provided_suffix": body.suffix,
        "usage_metrics": {"trainer": row.trainer, **row.usage},
    }


# the deprecated field `hyperparameters` never had any others
COMMON = ("batch_size", "learning_rate_multiplier", "n_epochs")


def create(connection: Connection, *, id: str, trainer: str, body: JobBody) -> dict[str, Any]:  # noqa: A002
    """Record a new job, whose folder is complete."""
    metadata = body.metadata or {}
    place = connection.execute(
        "INSERT INTO jobs (id, created_at, status, trainer, plain, body) VALUES (?, ?, ?, ?, ?, ?)",
        (id, now(), JobStatus.VALIDATING, trainer, not metadata, body.encode()),
    ).lastrowid
    assert place is not None
    add_metadata(connection, place, metadata)
    events.add(connection, place, f"Created fine-tuning job: {id}")
    also = f" and validation file: {body.validation_file}" if body.validation_file else ""
    events.add(connection, place, f"Validating training file: {body.training_file}{also}")
    return get(connection, id)


def add_metadata(connection: Connection, job: int, metadata: Mapping[str, str]) -> None:
    """Add the pairs by which jobs are found."""
    connection.executemany(
        "INSERT OR IGNORE INTO job_metadata VALUES (?, ?, ?)", [(key, value, job) for key, value in metadata.items()]
    )


def find(connection: Connection, job_id: str) -> JobRow:
    """A job's record, or 404."""
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise not_found("fine_tuning_job", job_id, param="fine_tuning_job_id")
    return JobRow.decode(row)


def get(connection: Connection, job_id: str) -> dict[str, Any]:
    """A job, or 404."""
    return show(find(connection, job_id))


def rows(
    connection: Connection, *, after: str | None, limit: int, metadata: Mapping[str, str], plain: bool = False
) -> list[JobRow]:
    """One row more than a page of jobs, newest first; every pair of metadata must match exactly."""
    tables, where, values = "jobs AS j", [], list[Any]()
    order = "j.seq"
    for number, (key, value) in enumerate(metadata.items()):
        if number == 0:
            # the index of the first pair also gives the order; the other pairs are looked up for each row
            tables, order = "job_metadata AS m JOIN jobs AS j ON j.seq = m.job", "m.job"
            where.append("m.key = ? AND m.value = ?")
        else:
            where.append("EXISTS (SELECT 1 FROM job_metadata WHERE key = ? AND value = ? AND job = m.job)")
        values += [key, value]
    if plain:
        where.append("j.plain")
    if after is not None:
        where.append(f"{order} < ?")
        values.append(place_of(connection, "jobs", after, kind="fine_tuning_job"))
    clause = f"WHERE {' AND '.join(where)}" if where else ""
    query = f"SELECT j.* FROM {tables} {clause} ORDER BY {order} DESC LIMIT ?"  # noqa: S608 - fixed words
    return [JobRow.decode(row) for row in connection.execute(query, (*values, limit + 1))]


MESSAGES = {
    Move.ADMIT: "Files validated, moving job to queued state",
    Move.START: "Fine-tuning job started",
    Move.PAUSE: "Pausing the job",
    Move.RESUME: "Resumed: the job is queued again",
    Move.SUCCEED: "The job has successfully completed",
    Move.CANCEL: "The job was cancelled",
}


def move(
    connection: Connection,
    job_id: str,
    what: Move,
    /,
    *,
    message: str | None = None,
    level: str = "info",
    **changes: Any,
) -> JobRow:
    """Move a job to its next status, or raise `WrongState`; adds the event, and queues the webhooks at the end."""
    row = find(connection, job_id)
    status = after(job_id, row.status, what)
    changes["status"] = status
    if status in TERMINAL:
        changes |= {"finished_at": max(now(), row.created_at), "estimated_finish": None}
    columns = ", ".join(f"{name} = ?" for name in changes)
    done = connection.execute(
        f"UPDATE jobs SET {columns} WHERE id = ? AND status = ?",  # noqa: S608 - our own column names
        (*encoded(changes).values(), job_id, row.status),
    )
    assert done.rowcount == 1
    if text := message or MESSAGES.get(what):
        events.add(connection, row.seq, text, level=level)
    if status in TERMINAL:
        webhooks.announce(connection, f"fine_tuning.job.{status}", {"id": job_id})
    return find(connection, job_id)


def update(connection: Connection, job_id: str, /, **changes: Any) -> None:
    """Change columns of a job other than its status."""
    assert "status" not in changes
    columns = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*encoded(changes).values(), job_id))  # noqa: S608


def fail(
    connection: Connection, job_id: str, /, *, code: str, message: str, param: str | None = None, **changes: Any
) -> JobRow:
    """End a job with an error."""
    error = {"code": code, "message": message, "param": param}
    text = f"The job failed: {message}"
    return move(connection, job_id, Move.FAIL, message=text, level="error", error=error, **changes)


def places_in(connection: Connection, status: JobStatus, limit: int = 1000) -> list[tuple[str, int]]:
    """The ids of the jobs of one status with their `seq`, oldest first."""
    query = "SELECT id, seq FROM jobs WHERE status = ? ORDER BY seq LIMIT ?"
    return [(row["id"], row["seq"]) for row in connection.execute(query, (status, limit))]


def counts(connection: Connection) -> dict[str, int]:
    """The number of jobs of each status."""
    return dict(connection.execute("SELECT status, COUNT(*) FROM jobs GROUP BY status").fetchall())


def next_queued(connection: Connection) -> JobRow | None:
    """The job that has waited longest, and whose earlier worker, if any, has ended."""
    row = connection.execute(
        "SELECT * FROM jobs WHERE status = ? AND NOT occupied ORDER BY seq LIMIT 1", (JobStatus.QUEUED,)
    ).fetchone()
    return None if row is None else JobRow.decode(row)


def occupied(connection: Connection) -> list[JobRow]:
    """The jobs that may have a living worker, whatever their status."""
    return [JobRow.decode(row) for row in connection.execute("SELECT * FROM jobs WHERE occupied ORDER BY seq")]


def exists(connection: Connection, job_id: str) -> bool:
    """Whether there is a record of a job."""
    return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job_id,)).fetchone() is not None


def unrecorded(connection: Connection, limit: int) -> list[Row]:
    """The jobs whose record file isn't written yet, as rows."""
    return connection.execute("SELECT * FROM jobs WHERE NOT recorded ORDER BY seq LIMIT ?", (limit,)).fetchall()


def fresh_id() -> str:
    """A new id for a job."""
    return new_id("ftjob-")
