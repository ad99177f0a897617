"""Fetch all that a service knows of a job, for the registry and the report.

If the job itself can't be read, that is an error. Its parts may be missing: a file was deleted, or the service has
no checkpoints or result files. Missing parts are left out, and those that a reader would expect are listed in
`missing`. A temporary error is raised, unless `forgiving` says to list it as missing too.
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
"""The most pages to read: of checkpoints, of the log if a result file has the metrics, and of the log if not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A job with its files, checkpoints, metrics and log.

    Args:
        job: The job.
        files: Its training file and validation file, those that exist.
        checkpoints: Its checkpoints, oldest first.
        rows: The rows of its result file.
        events: Its log, oldest first. It is fetched on request, or if there are no rows.
        base_model: The model that it started from, if the service lists it.
        missing: A sentence for each part that could not be read.
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
        """The metrics by step: the rows of the result file, or else the metrics events of the log."""
        return self.rows or [event for event in self.events if event.metrics]


def trained(account: Account, job: Job | str, *, log: bool = False, forgiving: bool = False) -> Flow[Trained]:
    """Fetch a job's files, checkpoints, metrics and log.

    Args:
        account: The account to send requests with.
        job: The job. Given an id, the job is fetched too.
        log: Fetch the log even if a result file has the metrics.
        forgiving: List a part as missing also after a temporary error, instead of raising it.
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
    """Fetches one part after another, and collects what is missing."""

    def __init__(self, account: Account, *, forgiving: bool) -> None:
        self._account = account
        self._forgiving = forgiving
        self.missing: list[str] = []

    def ask(self, what: str | None, flow: Flow[T]) -> Flow[T | None]:
        """Run a flow; gives None if the part is missing. `what` names it in `missing`, if it is given."""
        try:
            return (yield from flow)
        except (ApiError, BadReply, InvalidInput, TransportError, LookupFailed) as error:
            temporary = error.retryable and not isinstance(error, BadReply)
            if temporary and not self._forgiving:
                raise
            if what is not None:
                self.missing.append(f"The {what} could not be read: {error.message}")
            return None

    def checkpoints(self, job_id: str) -> Flow[list[Checkpoint]]:
        return self._all(lambda after: calls.jobs.checkpoints(job_id, after=after, limit=PAGE), CHECKPOINT_PAGES)

    def events(self, job_id: str, pages: int) -> Flow[list[Event]]:
        return self._all(lambda after: calls.jobs.events(job_id, after=after, limit=PAGE), pages)

    def _all(self, page: Callable[[str | None], Call[Page[L]]], pages: int) -> Flow[list[L]]:
        """Read a list that is newest first, up to `pages` pages; returns it oldest first."""
        pager = Pager(self._account, page)
        found: list[L] = []
        while not pager.done and pager.pages < pages:
            found += yield from pager.next()
        return found[::-1]
