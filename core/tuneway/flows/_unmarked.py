"""Recognise the job of a create whose reply was lost, on a service that drops the marks of jobs."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from tuneway import calls
from tuneway.errors import NotFound, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._identity import Intent
from tuneway.flows._marks import suffix_shown, unmarked
from tuneway.flows._request import request, unreadable
from tuneway.models import Job

_DATED = re.compile(r"-[0-9][0-9-]*")


def known_unmarked(account: Account, intent: Intent, *, besides: Container[str | None]) -> Flow[list[Job]]:
    """Read the jobs that this process has for an intent, and that aren't listed with its mark."""
    jobs: list[Job] = []
    for job_id in account.memory.unmarked(intent.key):
        if job_id in besides:
            continue
        try:
            jobs.append((yield from request(account, calls.jobs.retrieve(job_id))))
        except NotFound:
            continue  # the job was deleted
        except TunewayError as error:
            raise unreadable(f"what became of {job_id}, so no other job was created", error) from error
    return jobs


def recognised(account: Account, intent: Intent, body: Mapping[str, Any], *, known: Container[str]) -> Flow[Job | None]:
    """Look for the job of a lost create on one page of the list, which isn't filtered.

    It is the oldest job without anybody's marks that is newer than the create, has the very files that were sent, and
    has the same settings as far as the service shows them.

    Args:
        account: The account to send requests with.
        intent: What the create was for.
        body: The body of the create, without marks.
        known: Jobs that it can't be, by their ids.

    Raises:
        LookupFailed: The page can't be read.
    """
    since = account.memory.lost_since(intent.key)
    if since is None or account.memory.keeps_marks:
        return None
    try:
        page = yield from request(account, calls.jobs.listing(limit=100))
    except TunewayError as error:
        raise unreadable("whether the lost create has made a job", error) from error
    found = [
        job
        for job in page.data
        if job.id not in known
        and unmarked(job)
        and job.created_at is not None
        and job.created_at >= since
        and not account.memory.of_another(job.id, intent.key)
        and _same_work(job, body)
    ]
    return min(found, key=lambda job: job.age_rank, default=None)


def _same_work(job: Job, body: Mapping[str, Any]) -> bool:
    """Whether a job has the files and settings of a create. What the service doesn't show is no difference."""
    if job.training_file != body.get("training_file") or job.validation_file != (body.get("validation_file") or None):
        return False
    if job.model is None or not _same_model(job.model, str(body.get("model"))):
        return False
    if suffix_shown(job) not in (None, body.get("suffix")):
        return False  # with one that wasn't asked for as well: it may be somebody's mark
    shown = {"seed": job.seed, "method": job.kind, **job.resolved}
    return all(shown.get(name) in (None, value) for name, value in _asked(body))


def _same_model(shown: str, asked: str) -> bool:
    """Whether a model is the one that was asked for; services add a date to its name."""
    return shown == asked or (shown.startswith(asked) and _DATED.fullmatch(shown[len(asked) :]) is not None)


def _asked(body: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The settings in a create's body by name, without those that the service chooses."""
    method = body.get("method")
    kind = method.get("type") if isinstance(method, Mapping) else "supervised"
    inner = method.get(kind) if isinstance(method, Mapping) else None
    given = {"seed": body.get("seed"), "method": kind}
    for hyperparameters in (body.get("hyperparameters"), inner and inner.get("hyperparameters")):
        given |= hyperparameters if isinstance(hyperparameters, Mapping) else {}
    return ((name, value) for name, value in given.items() if value not in (None, "auto"))
