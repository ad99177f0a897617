"""Records in the database what a worker reports in the job's folder, each report once, and the job's result."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from tuneway_service import journal, sweeping
from tuneway_service.folder import link
from tuneway_service.ids import new_id
from tuneway_service.states import JobStatus, Move
from tuneway_service.store import events, files, jobs, models

if TYPE_CHECKING:
    from tuneway_service.folder import JobFolder
    from tuneway_service.settings import Settings
    from tuneway_service.store.database import Connection, Database
    from tuneway_service.store.records import JobRow


SCORE = "train_score."
"""The prefix of the metrics for the parts of a multi grader."""


def read_reports(database: Database, job_id: str, folder: JobFolder) -> None:
    """Record what is new in the journal, and when the training will end."""
    while True:
        row = database.read_now(jobs.find, job_id)
        records, end = journal.read(folder.journal, row.journal_read)
        if end == row.journal_read:
            break
        database.write_now(_take, row, records, end)
    progress = folder.read("progress")
    if isinstance(progress, dict) and row.status == JobStatus.RUNNING:
        finish = estimate(progress)
        if finish is not None and finish != row.estimated_finish:
            database.write_now(_estimate, job_id, finish)


def read_again(connection: Connection, job_id: str, folder: JobFolder) -> None:
    """Record the whole journal; what is recorded already isn't recorded twice."""
    jobs.update(connection, job_id, journal_read=0)
    while True:
        row = jobs.find(connection, job_id)
        records, end = journal.read(folder.journal, row.journal_read)
        if end == row.journal_read:
            return
        _take(connection, row, records, end)


def estimate(progress: dict[str, Any]) -> int | None:
    """When a training will end, from the measured time of its steps; None if none was measured."""
    pace = progress.get("seconds_per_step")
    if pace is None:
        return None
    return int(progress["at"] + pace * (progress["total_steps"] - progress["step"]))


def _estimate(connection: Connection, job_id: str, finish: int) -> None:
    if jobs.find(connection, job_id).status == JobStatus.RUNNING:
        jobs.update(connection, job_id, estimated_finish=finish)


def _take(connection: Connection, row: JobRow, records: list[dict[str, Any]], end: int) -> None:
    """Record reports, and the place in the journal in the same transaction: none is recorded twice or skipped."""
    job, step = row.seq, row.step
    for record in records:
        match record.get("kind"):
            case "message":
                events.add(
                    connection, job, record["message"], level=record["level"], mark=record["mark"], at=record["at"]
                )
            case "metrics":
                step = max(step, record["step"])
                _take_metrics(connection, job, record)
            case "checkpoint":
                _take_checkpoint(connection, row, record)
    jobs.update(connection, row.id, journal_read=end, step=step)


def _take_metrics(connection: Connection, job: int, record: dict[str, Any]) -> None:
    step, total, numbers = record["step"], record["total_steps"], record["metrics"]
    text = f"Step {step}/{total}: " + ", ".join(
        f"{name.replace('_', ' ')}={numbers[key]:.4f}"
        for key, name in (
            ("train_loss", "training_loss"),
            ("valid_loss", "validation_loss"),
            ("full_valid_loss", "full_validation_loss"),
            ("train_mean_reward", "training_reward"),
            ("full_valid_mean_reward", "full_validation_reward"),
        )
        if key in numbers
    )
    scores = {name.removeprefix(SCORE): value for name, value in numbers.items() if name.startswith(SCORE)}
    plain = {name: value for name, value in numbers.items() if not name.startswith(SCORE)}
    # a worker of an earlier version reported no groups
    groups = record.get("groups") or ({"scores": scores} if scores else {})
    data = {"step": step, "total_steps": total, **plain} | groups
    events.add(connection, job, text, data=data, mark=f"step:{step}", at=record["at"])


def _take_checkpoint(connection: Connection, row: JobRow, record: dict[str, Any]) -> None:
    step = record["step"]
    name = f"{row.model_name}:ckpt-step-{step}"
    if not events.add_checkpoint(
        connection, row.seq, step=step, model=name, metrics=record["metrics"], at=record["at"]
    ):
        return
    models.add(connection, id=name, job_id=row.id, trainer=row.trainer, folder=f"checkpoints/{step}", at=record["at"])
    text = f"Checkpoint created at step {step}: {name}"
    events.add(connection, row.seq, text, mark=f"checkpoint:{step}", at=record["at"])
    for old in events.drop_old_checkpoints(connection, row.seq):
        models.drop(connection, old["model"])


def succeed(database: Database, settings: Settings, job_id: str, folder: JobFolder, outcome: dict[str, Any]) -> None:
    """End a job that succeeded: its result file is in place before the database says so."""
    file_id = new_id("file-")
    content = folder.results.read_bytes()
    sweeping.begin(settings, file_id)
    link(folder.results, settings.files_dir / file_id)
    result = {"id": file_id, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    database.write_now(_succeed, job_id, result, outcome)
    sweeping.end(settings, file_id)


def _succeed(connection: Connection, job_id: str, result: dict[str, Any], outcome: dict[str, Any]) -> None:
    row = jobs.find(connection, job_id)
    name = row.model_name
    files.add(connection, filename="step_metrics.csv", purpose="fine-tune-results", **result)
    models.add(connection, id=name, job_id=job_id, trainer=row.trainer, folder="model")
    events.add(connection, row.seq, f"New fine-tuned model created: {name}", mark="model")
    usage = {name: outcome[name] for name in ("seconds", "cpu_seconds") if name in outcome}
    jobs.move(
        connection,
        job_id,
        Move.SUCCEED,
        fine_tuned_model=name,
        result_file=result["id"],
        trained_tokens=outcome["trained_tokens"],
        usage=usage,
        occupied=0,
    )
