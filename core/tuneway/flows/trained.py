"""What a service knows of a training, gathered for whoever registers its model.

A job that can't be read is an error. What belongs to it may be gone, or never have been there: a deleted
file, a service without checkpoints or result files. Such gaps are left open; trouble that passes is not
taken for a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from tuneway import calls
from tuneway.errors import ApiError, BadReply, InvalidInput
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._paging import Pager
from tuneway.flows._request import request
from tuneway.flows.results import result_metrics
from tuneway.models import Checkpoint, Event, File, Job, MetricRow, Model

T = TypeVar("T")

PAGE = 100
LOG_PAGES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A job and all that belongs to it."""

    job: Job
    files: list[File]
    checkpoints: list[Checkpoint]
    rows: list[MetricRow] | list[Event]
    base_model: Model | None


def trained(account: Account, job_id: str) -> Flow[Trained]:
    """Gather what belongs to a job."""
    job = yield from request(account, calls.jobs.retrieve(job_id))
    files = []
    for file_id in filter(None, (job.training_file, job.validation_file)):
        file = yield from _if_there(request(account, calls.files.retrieve(file_id)))
        files += [file] if file is not None else []
    return Trained(
        job=job,
        files=files,
        checkpoints=(yield from _if_there(_checkpoints(account, job_id))) or [],
        rows=(yield from _rows(account, job)),
        base_model=(yield from _if_there(request(account, calls.models.retrieve(job.model)))) if job.model else None,
    )


def _if_there(flow: Flow[T]) -> Flow[T | None]:
    """A gap where the service says no; trouble that passes is raised."""
    try:
        return (yield from flow)
    except ApiError as error:
        if error.retryable:
            raise
        return None


def _checkpoints(account: Account, job_id: str) -> Flow[list[Checkpoint]]:
    pager = Pager(account, lambda after: calls.jobs.checkpoints(job_id, after=after, limit=PAGE))
    found: list[Checkpoint] = []
    while not pager.done:
        found += yield from pager.next()
    return found


def _rows(account: Account, job: Job) -> Flow[list[MetricRow] | list[Event]]:
    """The result file's rows; without one, or with one that can't be read, the log's metrics."""
    try:
        return (yield from _if_there(result_metrics(account, job))) or []
    except (InvalidInput, BadReply):
        return (yield from _if_there(_metrics_events(account, job.id))) or []


def _metrics_events(account: Account, job_id: str) -> Flow[list[Event]]:
    pager = Pager(account, lambda after: calls.jobs.events(job_id, after=after, limit=PAGE))
    found: list[Event] = []
    while not pager.done and pager.pages < LOG_PAGES:
        found += [event for event in (yield from pager.next()) if event.metrics]
    return found[::-1]
