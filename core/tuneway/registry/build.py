"""Build the record of a model from a job. All functions are pure, except `git_state`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway._escape import one_line
from tuneway._version import __version__
from tuneway.choices import Choice, check_word
from tuneway.errors import InvalidSpec, JobCancelled, JobError, JobFailed
from tuneway.flows import ORIGIN, hash_in
from tuneway.models import Checkpoint, File, Job, Model, Phase, TrainingSpec
from tuneway.models._curve import CurveRow, numbers, points
from tuneway.registry.records import (
    CheckpointRecord,
    Cost,
    DataFile,
    GitState,
    ModelRecord,
    Origin,
    check_name,
)
from tuneway.requester import Requester
from tuneway.steps import data_facts

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport

# The metrics that decide which checkpoint is best, in this order: the whole validation set, then batches of it.
_BEST = (("full_valid_loss", min), ("valid_loss", min), ("full_valid_mean_reward", max))
_GIT_SECONDS = 10


def build_record(
    job: Job,
    *,
    name: str,
    checkpoint: Choice = "last",
    checkpoints: Sequence[Checkpoint] = (),
    files: Iterable[File] = (),
    data: Iterable[DatasetReport | Mapping[str, Any]] = (),
    rows: Iterable[CurveRow] = (),
    spec: TrainingSpec | None = None,
    requested: Mapping[str, Any] | None = None,
    base_model: Model | None = None,
    cost: Cost | None = None,
    git: GitState | None = None,
    origin: Requester | Origin | str | None = None,
    service_url: str | None = None,
    now: datetime | None = None,
) -> ModelRecord:
    """Build the record of a succeeded job's model.

    Args:
        job: The job.
        name: The model's name in the registry.
        checkpoint: "last" is the job's own model, "best" the checkpoint of `choose_checkpoint`.
        checkpoints: The job's checkpoints.
        files: The training file and the validation file. Their names contain their hashes.
        data: Reports of `tuneway.dataset.validate`, or what a step has passed on of them. They add rows and tokens to
            the file with the same hash.
        rows: The metrics of the training, from a result file or from events.
        spec: The specification or recipe of the job.
        requested: The hyperparameters that were asked for, if there is no `spec`.
        base_model: The model that the training started from.
        cost: The cost of the training.
        git: The state of the code.
        origin: Who asked; the default is the origin mark on the job.
        service_url: The service's address.
        now: The time of the registration; the default is the present.

    Raises:
        JobError: The job has no model; a subclass says why.
    """
    check_name(name)
    _must_have_succeeded(job)
    training, validation = _data_files(job, files, data)
    return ModelRecord(
        name=name,
        shutdown_date=_date(base_model.shutdown_date if base_model else None),
        training=training,
        validation=validation,
        requested=spec.requested if spec else dict(requested or {}),
        cost=cost,
        git=git,
        origin=_origin(job, origin),
        service_url=service_url,
        created_at=now or datetime.now(UTC),
        written_by=f"tuneway {__version__}",
        **_of_job(job),
        **_of_checkpoints(job, checkpoints, checkpoint, rows),
    )


def _of_job(job: Job) -> dict[str, Any]:
    """The fields that the job alone decides."""
    return {
        "job_id": job.id,
        "base_model": job.model,
        "method": job.kind,
        "grader_sha256": _grader_hash(job),
        "resolved": job.resolved,
        "seed": job.seed,
        "trained_tokens": job.trained_tokens,
        "trainer": job.trainer,
        "job_created_at": _moment(job.created_at),
        "job_finished_at": _moment(job.finished_at),
    }


def _of_checkpoints(
    job: Job, checkpoints: Sequence[Checkpoint], choice: Choice, rows: Iterable[CurveRow]
) -> dict[str, Any]:
    """The fields that depend on which checkpoint is chosen."""
    chosen = choose_checkpoint(checkpoints, choice)
    return {
        "model_id": _model_id(job, chosen, choice),
        "checkpoint": chosen.id if chosen else None,
        "checkpoint_choice": choice,
        "checkpoints": [_checkpoint(one) for one in sorted(checkpoints, key=_step)],
        "metrics": _metrics(chosen, rows),
    }


def choose_checkpoint(checkpoints: Sequence[Checkpoint], choice: Choice = "last") -> Checkpoint | None:
    """Choose the last or the best checkpoint; None for the last one if there are none.

    The best is the one with the lowest loss on the whole validation set, or else on batches of it, or else with the
    highest validation reward; of equally good ones the later.

    Raises:
        InvalidSpec: No checkpoint is the best, since none has a validation metric.
    """
    by_step = sorted(checkpoints, key=_step)
    if check_word(choice, Choice, field="checkpoint") == "last":
        return by_step[-1] if by_step else None
    for name, pick in _BEST:
        scores = {one.id: score for one in by_step if (score := numbers(one.metrics).get(name)) is not None}
        if scores:
            best = pick(scores.values())
            return next(one for one in reversed(by_step) if scores.get(one.id) == best)
    raise InvalidSpec(
        "no checkpoint has a validation metric, so none is the best"
        if checkpoints
        else "the job has no checkpoints, so none is the best",
        field="checkpoint",
        hint="Train with validation data, or register checkpoint='last'.",
    )


def git_state(folder: str | Path | None = None) -> GitState | None:
    """The commit that is checked out in a folder, and whether tracked files differ from it; None outside Git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return GitState(commit=commit, dirty=bool(changes))


def _git(folder: str | Path | None, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the Git that the user has
            cwd=folder,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _must_have_succeeded(job: Job) -> None:
    if job.phase is Phase.SUCCEEDED:
        return
    if job.phase is Phase.FAILED:
        reason = one_line((job.error.message if job.error else None) or "no reason given", 2000)
        raise JobFailed(f"{job.id} failed, so there is no model to register: {reason}", job=job)
    if job.phase is Phase.CANCELLED:
        raise JobCancelled(f"{job.id} was cancelled, so there is no model to register", job=job)
    raise JobError(
        f"{job.id} is {job.status}: there is no model to register yet",
        job=job,
        hint="Wait until it has succeeded, then register.",
    )


def _model_id(job: Job, chosen: Checkpoint | None, choice: Choice) -> str:
    """The checkpoint's model for "best". For "last", the job's own model, or else the checkpoint's."""
    own, saved = job.fine_tuned_model, chosen.fine_tuned_model_checkpoint if chosen else None
    model_id = (saved if choice == "best" else None) or own or saved
    if choice == "best" and not saved:
        raise JobError(f"the best checkpoint of {job.id} names no model", job=job, hint="Register checkpoint='last'.")
    if not model_id:
        raise JobError(
            f"{job.id} succeeded but names no model",
            job=job,
            hint="Some services name the model a little later: retrieve the job again.",
        )
    return model_id


def _metrics(chosen: Checkpoint | None, rows: Iterable[CurveRow]) -> dict[str, float]:
    """The last value of each metric up to the chosen checkpoint."""
    limit = chosen.step_number if chosen else None
    upto = sorted((step, name, value) for (name, step), value in points(rows).items() if limit is None or step <= limit)
    return {name: value for _, name, value in upto} | (numbers(chosen.metrics) if chosen else {})


def _data_files(
    job: Job, files: Iterable[File], data: Iterable[DatasetReport | Mapping[str, Any]]
) -> tuple[DataFile | None, DataFile | None]:
    """The training file and the validation file, with all that is known about them."""
    known = {file.id: file for file in files}
    facts = {fact["sha256"]: fact for one in data for fact in data_facts(one)}

    def described(file_id: str | None) -> DataFile | None:
        if file_id is None:
            return None
        file = known.get(file_id) or File(id=file_id)
        sha256 = hash_in(file.filename)
        counts = facts.get(sha256, {}) if sha256 else {}
        return DataFile(id=file_id, filename=file.filename, bytes=file.bytes, **{**counts, "sha256": sha256})

    return described(job.training_file), described(job.validation_file)


def _grader_hash(job: Job) -> str | None:
    inner = (job.method or {}).get("reinforcement")
    grader = inner.get("grader") if isinstance(inner, dict) else None
    return hashlib.sha256(json.dumps(grader, sort_keys=True).encode()).hexdigest() if grader else None


def _origin(job: Job, given: Requester | Origin | str | None) -> Origin | None:
    if isinstance(given, Origin):
        return given
    if isinstance(given, Requester):
        return Origin.of(given)
    if given:
        return Origin(text=given)
    mark = (job.metadata or {}).get(ORIGIN)
    return Origin.on(mark) if mark else None


def _checkpoint(checkpoint: Checkpoint) -> CheckpointRecord:
    return CheckpointRecord(
        id=checkpoint.id,
        step=checkpoint.step_number,
        model_id=checkpoint.fine_tuned_model_checkpoint,
        metrics=numbers(checkpoint.metrics),
    )


def _step(checkpoint: Checkpoint) -> tuple[float, float]:
    return (checkpoint.step_number or 0, checkpoint.created_at or 0)


def _moment(seconds: float | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
    except (ValueError, OverflowError, OSError):
        return None


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
