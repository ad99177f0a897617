"""Cancel jobs: one, or all that a requester created, or all with a mark."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tuneway import calls, progress
from tuneway.calls import Call
from tuneway.errors import ApiError, BadRequest, Conflict, LookupFailed, NotFound, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._carrier import Named, Suffix
from tuneway.flows._effects import Flow, notify, sleep
from tuneway.flows._identity import PAIR_LENGTH, identify, made_by, own_keys
from tuneway.flows._marks import CONTENT, KEY, ORIGIN, has, has_origin
from tuneway.flows._names import BEGINNING
from tuneway.flows._paging import Pager
from tuneway.flows._request import request, settling
from tuneway.models import Job, JobSpec, Page, Phase
from tuneway.requester import Requester

LOOKS = (0.1, 0.1, 0.25, 0.55)
"""The pauses before the list is read again, as shares of the settle window.

The first are short: the process that cancels may itself be ended before the window has passed.
"""


def cancel(account: Account, job_id: str) -> Flow[Job]:
    """Cancel a job. A job that has already ended is returned as it is.

    If the service refuses, the job may have ended just before, and not show it yet. So it is read again until the
    settle window has passed.
    """

    def look() -> Flow[Job | None]:
        job = yield from request(account, calls.jobs.retrieve(job_id))
        return job if job.done else None

    try:
        return (yield from request(account, calls.jobs.cancel(job_id)))
    except (BadRequest, Conflict) as error:
        ended = yield from settling(account, look)
        if ended is None:
            raise error.about(job_id) from None
        return ended


def cancel_rival(account: Account, rival_id: str, survivor_id: str) -> Flow[Job | None]:
    """Cancel a second job for the same work, and report it.

    Gives the job as it is afterwards; None if it was deleted, or can't be cancelled.
    """
    try:
        ended = yield from cancel(account, rival_id)
    except NotFound:
        return None  # the job was deleted
    except ApiError as error:
        if error.retryable:
            raise
        yield from notify(progress.RivalLeft(rival_id, survivor_id, error))
        return None
    if ended.phase is not Phase.SUCCEEDED:
        yield from notify(progress.RivalCancelled(rival_id, survivor_id))
    return ended


def cancel_made_by(
    account: Account, who: Requester | str, spec: JobSpec | None = None, marks: Collection[str] = ()
) -> Flow[list[Job]]:
    """Cancel all jobs that a requester created and that haven't ended; gives the jobs as they are afterwards.

    The process that created them may have been killed just before, with a create still on its way. So the list is
    read again until the settle window has passed. An error on one job is raised after the others are cancelled.

    Args:
        account: The account to send requests with.
        who: The requester, or its origin mark.
        spec: Only jobs with the content of this specification are cancelled.
        marks: The requester's marks, as `progress.CreatePlanned` reported them. Jobs with one of them are cancelled as
            well, also where they don't have their origin.

    Raises:
        LookupFailed: The service's jobs don't have their origin, and no key follows from what was given.
    """
    requester = Requester(mark=who) if isinstance(who, str) else who
    content = None
    if spec is not None:
        content = (yield from identify(account, spec, Requester(), reuse="content")).content
    carrier = account.marking
    if isinstance(carrier, Suffix) and "origin" not in carrier.marks:
        keys = [*marks, *([] if isinstance(who, str) or content is None else own_keys(who, content))]
        if not keys:
            raise _without_origin()
        return (yield from _cancel_all(account, {}, lambda job: any(has(job, KEY, key) for key in keys)))
    origin = requester.origin[:PAIR_LENGTH]

    def suits(job: Job) -> bool:
        own = has_origin(job, origin) or made_by(job, requester)
        return any(has(job, KEY, mark) for mark in marks) or (own and (content is None or has(job, CONTENT, content)))

    return (yield from _cancel_all(account, {ORIGIN: origin}, suits))


def cancel_marked(account: Account, mark: str) -> Flow[list[Job]]:
    """Cancel all jobs with this mark that haven't ended; gives the jobs as they are afterwards.

    `progress.CreatePlanned` has reported the mark, before the create was sent. As with `cancel_made_by`, the create may
    still be on its way.
    """
    jobs = yield from _cancel_all(account, {KEY: mark}, lambda job: has(job, KEY, mark))
    for job_id in account.memory.unmarked(mark, created=True):  # the service has dropped their marks
        if job_id not in {job.id for job in jobs}:
            jobs.append((yield from cancel(account, job_id)))
    return jobs


def _cancel_all(account: Account, wanted: Mapping[str, str], suits: Callable[[Job], bool]) -> Flow[list[Job]]:
    jobs, trouble = yield from _cancel_found(account, wanted, suits)
    yield from notify(progress.Settling(account.settle_window))
    for share in LOOKS:
        yield from sleep(share * account.settle_window)
        late, trouble = yield from _cancel_found(account, wanted, suits)  # this also tries again what failed before
        jobs += late
    if trouble is not None:
        raise trouble
    return list({job.id: job for job in jobs}.values())


def _cancel_found(
    account: Account, wanted: Mapping[str, str], suits: Callable[[Job], bool]
) -> Flow[tuple[list[Job], TunewayError | None]]:
    """Cancel the jobs that the lists show; gives them, and the first error."""
    jobs: list[Job] = []
    trouble: TunewayError | None = None
    for pager in _lists(account, wanted):
        while not pager.done:
            if pager.pages == account.lookup_pages:
                trouble = trouble or _too_many(pager.pages)
                break
            for job in (yield from pager.next()):
                if job.done or not suits(job):
                    continue
                try:
                    jobs.append((yield from cancel(account, job.id)))
                except NotFound:
                    continue  # the job was deleted
                except TunewayError as error:
                    trouble = trouble or error.about(job.id)
    return jobs, trouble


def _lists(account: Account, wanted: Mapping[str, str]) -> list[Pager[Job]]:
    """The lists on which the jobs are. Jobs with names of ours have a list for each kind."""
    carrier = account.marking
    if isinstance(carrier, Named):
        beginnings = [f"{kind}{BEGINNING}" for kind in ("", *carrier.kinds.values())]
        return [Pager(account, _page(name=beginning)) for beginning in beginnings]
    return [Pager(account, _page(metadata=None if isinstance(carrier, Suffix) else wanted))]


def _page(**which: Any) -> Callable[[str | None], Call[Page[Job]]]:
    return lambda after: calls.jobs.listing(after=after, limit=100, **which)


def _without_origin() -> LookupFailed:
    return LookupFailed(
        "on this service a job's mark has no room for who asked for it, so the jobs can't be found by that alone",
        hint="Give the `spec` of the job as well. Or cancel by id, or by the mark that `CreatePlanned` reports: "
        "`cancel_marked`.",
        retryable=False,
    )


def _too_many(pages: int) -> LookupFailed:
    return LookupFailed(
        f"more than {pages} pages of jobs, and the service doesn't filter them by their marks",
        hint="Jobs on later pages may still run. Raise `lookup_pages`, or cancel them by id.",
        retryable=False,
    )
