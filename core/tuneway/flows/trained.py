"""What a service knows of a training, gathered for whoever registers its model or reports on it.

A job that can't be read is an error. What belongs to it may be gone, or never have been there: a deleted file, a
service without checkpoints or result files. Such gaps are left open, and those that a reader would miss are named.
Trouble that passes isn't taken for a gap, unless whoever asks would rather have a part than nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tuneway import calls
from tuneway.calls import Call
from tuneway.errors import ApiError, BadReply, InvalidInput, LookupFailed, TransportError
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._paging import Listed, Pager
from tuneway.flows._request import request
from tuneway.flows.results import result_metrics
from tuneway.models import Checkpoint, Event, File, Job, MetricRow, Model, Page

T = TypeVar("T")
L = TypeVar("L", bound=Listed)

PAGE = 100
CHECKPOINT_PAGES, LATEST_PAGES, LOG_PAGES = 100, 10, 500
"""How much of a list is read: of the log only the latest part, where a result file has the numbers too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A job and all that belongs to it.

    Args:
        job: The job.
        files: Its training and its validation file, as far as they are there.
        checkpoints: Its checkpoints, oldest first.
        rows: The rows of its result file.
        events: Its log, oldest first; fetched if it was asked for, or if there are no rows.
        base_model: The model that it started from, if the service tells of it.
        missing: What could not be read, in sentences.
    """

    job: Job
    files: list[File] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    rows: list[MetricRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    base_model: Model | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def curve(self) -> list[MetricRow] | list[Event]:
        """What was measured, step by step: the result file's rows, else the log's metrics."""
        return self.rows or [event for event in self.events if event.metrics]


def trained(account: Account, job: Job | str, *, log: bool = False, forgiving: bool = False) -> Flow[Trained]:
    """Gather what belongs to a job.

    Args:
        account: Whom to ask.
        job: The job; its id asks for it as it is now.
        log: Fetch the log also where a result file has the numbers.
        forgiving: Take trouble that passes for a gap as well, and name it.
    """
    gathering = _Gathering(account, forgiving=forgiving)
    if isinstance(job, str):
        job = yield from request(account, calls.jobs.retrieve(job))
    files = []
    for file_id in filter(None, (job.training_file, job.validation_file)):
        file = yield from gathering.ask(None, request(account, calls.files.retrieve(file_id)))
        files += [file] if file is not None else []
    checkpoints = yield from gathering.ask("checkpoints", gathering.checkpoints(job.id))
    rows = (yield from gathering.ask("result file", result_metrics(account, job))) if job.result_files else None
    events = None
    if log or not rows:
        events = yield from gathering.ask("log", gathering.events(job.id, LATEST_PAGES if rows else LOG_PAGES))
    base = (yield from gathering.ask(None, request(account, calls.models.retrieve(job.model)))) if job.model else None
    return Trained(
        job=job,
        files=files,
        checkpoints=checkpoints or [],
        rows=rows or [],
        events=events or [],
        base_model=base,
        missing=gathering.missing,
    )


class _Gathering:
    """Asks for one thing after another, and remembers what is missing."""

    def __init__(self, account: Account, *, forgiving: bool) -> None:
        self._account = account
        self._forgiving = forgiving
        self.missing: list[str] = []

    def ask(self, what: str | None, flow: Flow[T]) -> Flow[T | None]:
        """Leave a gap where the service says no; raise trouble that passes, unless it is forgiven."""
        try:
            return (yield from flow)
        except (ApiError, BadReply, InvalidInput, TransportError, LookupFailed) as error:
            passes = error.retryable and not isinstance(error, BadReply)
            if passes and not self._forgiving:
                raise
            if what is not None:
                self.missing.append(f"The {what} could not be read: {error.message}")
            return None

    def checkpoints(self, job_id: str) -> Flow[list[Checkpoint]]:
        return self._all(lambda after: calls.jobs.checkpoints(job_id, after=after, limit=PAGE), CHECKPOINT_PAGES)

    def events(self, job_id: str, pages: int) -> Flow[list[Event]]:
        return self._all(lambda after: calls.jobs.events(job_id, after=after, limit=PAGE), pages)

    def _all(self, page: Callable[[str | None], Call[Page[L]]], pages: int) -> Flow[list[L]]:
        """A list that is told newest first, oldest first; at most so many pages of it."""
        pager = Pager(self._account, page)
        found: list[L] = []
        while not pager.done and pager.pages < pages:
            found += yield from pager.next()
        return found[::-1]
