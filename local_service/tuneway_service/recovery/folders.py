"""Jobs and their models: from their record files, or else from what their workers wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway_service import ingest, record_files, sweeping
from tuneway_service.folder import JobFolder
from tuneway_service.ids import is_id
from tuneway_service.recovery.job_facts import facts_of
from tuneway_service.recovery.rows import put
from tuneway_service.states import TERMINAL, JobStatus
from tuneway_service.store import events, jobs, models

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.recovery.summary import Summary
    from tuneway_service.settings import Settings
    from tuneway_service.store.database import Connection, Database
    from tuneway_service.store.records import JobRow

STATE = (
    "status",
    "attempt",
    "finished_at",
    "error",
    "hyperparameters",
    "fine_tuned_model",
    "result_file",
    "trained_tokens",
    "usage",
    "occupied",
    "losses",
)


def recover_jobs(database: Database, settings: Settings, summary: Summary, *, rebuilt: bool) -> None:
    """Record every job whose folder is there.

    Args:
        database: The database.
        settings: The settings of the service.
        summary: What is reported.
        rebuilt: Whether the database is a new one; otherwise jobs that it has stay as they are.
    """
    folder = settings.jobs_dir
    names = {path.name for path in folder.iterdir() if is_id(path.name, "ftjob-")} if folder.is_dir() else set()
    for name in summary.follow("jobs", names):
        database.write_now(_recover, name, settings, summary, rebuilt=rebuilt)
    if rebuilt:
        for name in database.read_now(_ids) - names:
            database.write_now(_complete, name, settings, source="")
            summary.add("jobs", "from the damaged database")
            summary.doubt(f"jobs/{name}", "its folder is gone")


def _ids(connection: Connection) -> set[str]:
    return {row["id"] for row in connection.execute("SELECT id FROM jobs")}


def _recover(connection: Connection, name: str, settings: Settings, summary: Summary, *, rebuilt: bool) -> None:
    folder = JobFolder(settings.jobs_dir / name)
    record = record_files.read(record_files.record_of_job(settings, name))
    if record is not None and record.get("id") != name:
        record = None
    if jobs.exists(connection, name):
        source = "from the damaged database" if rebuilt else "from their records"
        changed = record is not None and _bring_up_to_date(connection, name, record, only_ends=not rebuilt)
        if not rebuilt and not changed:
            return
    elif folder.path.is_symlink():
        summary.lose(f"jobs/{name}", "it is a link")
        return
    elif record is not None and put(connection, "jobs", record):
        source = "from their records"
    elif name in sweeping.unfinished(settings):
        summary.lose(f"jobs/{name}", "its creation was never finished")
        return
    else:
        facts = facts_of(connection, folder)
        if facts is None or not put(connection, "jobs", facts):
            summary.lose(f"jobs/{name}", "it was never started, and nothing says what it should train")
            return
        source = "from their folders, without their metadata"
    summary.add("jobs", source)
    for _ in range(_complete(connection, name, settings, source=source)):
        summary.add("models", "with their exports")


def _bring_up_to_date(connection: Connection, name: str, record: Mapping[str, Any], *, only_ends: bool) -> bool:
    """The database may be older than the record: damaged, or put back from a copy. Returns whether that was so.

    The record may be older too, by one change at most; so with `only_ends` only the end of a job counts.
    """
    row = jobs.find(connection, name)
    if row.status in TERMINAL or (record.get("status"), record.get("attempt")) == (row.status, row.attempt):
        return False
    if only_ends and record.get("status") not in TERMINAL:
        return False
    state = {column: record[column] for column in STATE if column in record}
    columns = ", ".join(f"{column} = ?" for column in state)
    connection.execute("SAVEPOINT state")
    try:
        connection.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*state.values(), name))  # noqa: S608
        jobs.find(connection, name)
    except (ValueError, TypeError):
        connection.execute("ROLLBACK TO state")
        return False
    finally:
        connection.execute("RELEASE state")
    return True


def _complete(connection: Connection, name: str, settings: Settings, *, source: str) -> int:
    """Add what follows from a job's row and its folder; returns how many of its models are there."""
    folder, row = JobFolder(settings.jobs_dir / name), jobs.find(connection, name)
    jobs.add_metadata(connection, row.seq, row.body.metadata or {})
    if not events.messages(connection, row.seq, 1):
        events.add(connection, row.seq, f"Created fine-tuning job: {name}", at=row.created_at)
    _settle_state(connection, row, folder)
    ingest.read_again(connection, name, folder)
    if row.status == JobStatus.SUCCEEDED and folder.model.exists():
        at = row.finished_at
        models.add(connection, id=row.model_name, job_id=name, trainer=row.trainer, folder="model", at=at)
    events.put_in_order(connection, row.seq)
    if source:
        text = f"The service's database was lost; this job was recovered {source.replace('their', 'its')}"
        events.add(connection, row.seq, text, level="warn", mark="recovered")
    there = 0
    for model in models.of_job(connection, name):
        if (folder.path / model["folder"]).is_dir():
            there += 1
        else:
            models.drop(connection, model["id"])
    return there


def _settle_state(connection: Connection, row: JobRow, folder: JobFolder) -> None:
    """A worker may have gone on since the row was written."""
    if not folder.path.is_dir():
        return
    jobs.update(connection, row.id, attempt=max(row.attempt, folder.attempt() or 0))
    waits = row.status in (JobStatus.VALIDATING, JobStatus.QUEUED, JobStatus.PAUSED)
    if waits and folder.held():
        connection.execute("UPDATE jobs SET status = ?, occupied = 1 WHERE id = ?", (JobStatus.RUNNING, row.id))
