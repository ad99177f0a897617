"""Operations on fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneway.calls._http import Call, Request, query, reading, segment
from tuneway.models import Checkpoint, Event, Job, Page, page_of

ROOT = "/fine_tuning/jobs"


def create(body: Mapping[str, Any], *, idempotency_key: str | None = None, name: str | None = None) -> Call[Job]:
    """Create a job. The request isn't repeatable: no service has a reliable idempotency key.

    `name` is the job's id, on services where the client chooses it.
    """
    headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
    return Call(Request("POST", ROOT, json=body, headers=headers, repeatable=False, name=name), reading(Job))


def listing(
    *,
    metadata: Mapping[str, str] | None = None,
    after: str | None = None,
    limit: int | None = None,
    name: str | None = None,
) -> Call[Page[Job]]:
    """List one page of jobs, newest first.

    `metadata` filters by pairs; `{}` lists jobs without metadata. `name` is the beginning of their ids, on services
    where the client chooses them; services needn't filter by it.
    """
    pairs = tuple((f"metadata[{name}]", value) for name, value in (metadata or {}).items())
    if metadata is not None and not metadata:
        pairs = (("metadata", "null"),)
    request = Request("GET", ROOT, query=query(after=after, limit=limit) + pairs, name=name)
    return Call(request, reading(page_of(Job)))


def retrieve(job_id: str) -> Call[Job]:
    """Get one job."""
    return Call(Request("GET", f"{ROOT}/{segment(job_id)}"), reading(Job))


def cancel(job_id: str) -> Call[Job]:
    """Cancel a job; it can't be resumed."""
    return Call(Request("POST", f"{ROOT}/{segment(job_id)}/cancel"), reading(Job))


def pause(job_id: str) -> Call[Job]:
    """Pause a job; it can be resumed."""
    return Call(Request("POST", f"{ROOT}/{segment(job_id)}/pause"), reading(Job))


def resume(job_id: str) -> Call[Job]:
    """Resume a paused job."""
    return Call(Request("POST", f"{ROOT}/{segment(job_id)}/resume"), reading(Job))


def events(job_id: str, *, after: str | None = None, limit: int | None = None) -> Call[Page[Event]]:
    """List one page of a job's log, newest first."""
    request = Request("GET", f"{ROOT}/{segment(job_id)}/events", query=query(after=after, limit=limit))
    return Call(request, reading(page_of(Event)))


def checkpoints(job_id: str, *, after: str | None = None, limit: int | None = None) -> Call[Page[Checkpoint]]:
    """List one page of a job's checkpoints, newest first."""
    request = Request("GET", f"{ROOT}/{segment(job_id)}/checkpoints", query=query(after=after, limit=limit))
    return Call(request, reading(page_of(Checkpoint)))
