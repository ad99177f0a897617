"""What both clients make of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from tuneway import progress
from tuneway.errors import InvalidSpec
from tuneway.flows import Facts, Reuse, WaitToken, deadline_after
from tuneway.models import Job
from tuneway.progress import Listener

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport


def file_source(file: str | PathLike[str] | bytes, filename: str | None) -> tuple[Path | bytes, str]:
    """Where an upload's bytes come from, and what it is called."""
    if isinstance(file, bytes):
        return file, filename or "data.jsonl"
    return Path(file), filename or Path(file).name


def carries(job: Job, metadata: Mapping[str, str] | None) -> bool:
    """Whether a job has these pairs, or for no pairs none at all: some services ignore the filter."""
    if metadata is not None and not metadata:
        return not job.metadata
    return all((job.metadata or {}).get(name) == value for name, value in (metadata or {}).items())


def as_json(grader: Mapping[str, Any] | BaseModel) -> Mapping[str, Any]:
    """A grader as the wire wants it."""
    return grader.model_dump(mode="json", exclude_none=True) if isinstance(grader, BaseModel) else grader


def validation(path: str | PathLike[str], options: Mapping[str, Any]) -> Callable[[Listener], DatasetReport]:
    """Check a file, telling how far it has come."""

    def run(listener: Listener) -> DatasetReport:
        from tuneway.dataset import validate

        return validate(path, on_progress=lambda step: listener(progress.Checking(*step)), **options)

    return run


def check(path: str | PathLike[str], *, validate: bool, options: Mapping[str, Any]) -> Callable[[Listener], Facts]:
    """Read a file once before it is sent: for its errors and its hash, or for its hash alone."""

    def run(listener: Listener) -> Facts:
        if validate:
            report = validation(path, options)(listener)
            report.raise_for_errors()
            return report
        from tuneway.dataset import fingerprint

        return fingerprint(path)

    return run


def check_reuse(reuse: str) -> None:
    """Name a word that isn't one of the three."""
    if reuse not in get_args(Reuse):
        raise InvalidSpec(f"reuse can't be {reuse!r}: it is one of {', '.join(get_args(Reuse))}", field="reuse")


def token(job: str | Job | WaitToken, timeout: float | None, now: float) -> WaitToken:
    """What to wait for, and until when; a token brings its own deadline unless a new time-out is given."""
    deadline = deadline_after(timeout, now)
    if isinstance(job, WaitToken):
        return job if deadline is None else job.model_copy(update={"deadline": deadline})
    try:
        return WaitToken(job_id=job if isinstance(job, str) else job.id, deadline=deadline)
    except (AttributeError, ValidationError):
        raise InvalidSpec(f"{job!r} is neither a job nor a job's id", field="job") from None
