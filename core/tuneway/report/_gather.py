"""Everything that a service knows of a job, fetched for a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from tuneway.errors import ApiError, BadReply
from tuneway.models import Job
from tuneway.report._inputs import Report

if TYPE_CHECKING:
    from tuneway.client import Client

T = TypeVar("T")

# The log of a very long training isn't fetched to its beginning when the result file has the numbers too.
_LATEST_EVENTS, _MOST_EVENTS = 1000, 50_000


def gather(client: Client, job: Job | str, **more: Any) -> Report:
    """Fetch a job with its metrics, log and checkpoints: `render_html(gather(client, "ftjob-…"))`.

    Services differ in what they keep, so what one refuses to give is named in the report instead of raised.

    Args:
        client: The account to ask.
        job: The job, whatever its state.
        more: Further fields of the `Report`: `data`, `registered`, `cost`, `evaluation`, `samples`.

    Raises:
        TunewayError: The job itself can't be read.
    """
    if isinstance(job, str):
        job = client.jobs.retrieve(job)
    found = job
    missing: list[str] = []

    def ask(what: str, fetch: Callable[[], Iterable[T]]) -> Sequence[T]:
        try:
            return list(fetch())
        except (ApiError, BadReply) as error:
            missing.append(f"The {what} could not be read: {error.message}")
            return []

    rows = ask("result file", lambda: client.result_metrics(found)) if found.result_files else []
    wanted = _LATEST_EVENTS if rows else _MOST_EVENTS
    events = ask("log", lambda: islice(client.jobs.events(found.id, limit=100), wanted))
    checkpoints = ask("checkpoints", lambda: client.jobs.checkpoints(found.id, limit=100))
    return Report(job=job, rows=rows, events=events[::-1], checkpoints=checkpoints, notes=missing, **more)
