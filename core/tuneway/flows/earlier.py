"""The job of an earlier attempt: whether this attempt goes on with it.

An engine's store may still have the job's id when a task is retried. While nothing says otherwise, the retry goes on
with that job, and needs no data. If the data was read again and isn't that of the job, `OnStaleData` decides.
"""

from __future__ import annotations

from tuneway import calls, progress
from tuneway.choices import OnStaleData, check_word
from tuneway.errors import NotFound, StaleData
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow, notify
from tuneway.flows._identity import made_by
from tuneway.flows._request import request
from tuneway.flows.cancel import cancel
from tuneway.flows.upload import files_of
from tuneway.models import Job, JobSpec
from tuneway.requester import Requester


def go_on(
    account: Account,
    job_id: str,
    spec: JobSpec | None = None,
    requester: Requester | None = None,
    *,
    on_stale_data: OnStaleData = "adopt",
    mark: str | None = None,
) -> Flow[Job | None]:
    """Get the job of an earlier attempt, if this attempt goes on with it; None if `submit` decides.

    Args:
        account: The account to send requests with.
        job_id: The job, from the engine's store.
        spec: What is asked for now. Without it the data wasn't read again, and any job will do that is alive or has
            succeeded. With it, only a job that is alive and has other data is decided on here.
        requester: Who asks. A job that it hasn't made is never cancelled.
        on_stale_data: What becomes of a job that is alive and has other data.
        mark: The job's mark, if it was stored; see `made_by`.

    Raises:
        StaleData: The data has changed, and `on_stale_data` is "fail".
    """
    check_word(on_stale_data, OnStaleData, field="on_stale_data")
    try:
        job = yield from request(account, calls.jobs.retrieve(job_id))
    except NotFound:
        return None
    if job.phase.dead or job.ending:
        return None
    if spec is None:
        yield from notify(progress.JobAdopted(job))
        return job
    if job.done or not (yield from _is_stale(account, job, spec)):
        return None
    if on_stale_data == "fail":
        raise StaleData(
            f"the data has changed since {job.id} was created, and that job is still running",
            job=job,
            hint='Wait for the job, or cancel it. Or give on_stale_data="adopt" to go on with it, or "cancel".',
        )
    if on_stale_data == "adopt":
        yield from notify(progress.DataChanged(job, "adopted"))
        return job
    if made_by(job, requester or Requester(), mark=mark):
        ended = yield from cancel(account, job.id)
        yield from notify(progress.DataChanged(ended, "cancelled"))
    else:
        yield from notify(progress.DataChanged(job, "left"))
    return None


def _is_stale(account: Account, job: Job, spec: JobSpec) -> Flow[bool]:
    """Whether a job has other data than is asked for now."""
    for before, now in ((job.training_file, spec.training_file), (job.validation_file, spec.validation_file)):
        if before != now and not (yield from _is_same(account, before, now)):
            return True
    return False


def _is_same(account: Account, before: str | None, now: str | None) -> Flow[bool]:
    """Whether two files have the same data. Of a file that was deleted this isn't known, so the answer is no."""
    if not before or not now:
        return not before and not now
    files = files_of(account)
    try:
        old = yield from files.identity(account, before)
    except NotFound:
        return False
    return old == (yield from files.identity(account, now))
