"""The step that waits: all waits of a process share one poll, and their progress is shown in Prefect's UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext

from prefect_tuneway import _notes, _runs
from prefect_tuneway._data import log_news, log_one
from prefect_tuneway._jobs import Output
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.credentials import Credentials, FineTuningCredentials, resolve
from tuneway._escape import markdown, one_line

if TYPE_CHECKING:
    from datetime import timedelta

    from tuneway import Outcome, WaitToken
    from tuneway.models import Job
    from tuneway.progress import Listener, News
    from tuneway.report import Place


def wait(
    job: Output,
    *,
    credentials: Credentials,
    timeout: float | timedelta | None,
    cancel_on_timeout: bool,
    report_to: Place | None = None,
) -> Step[dict[str, Any]]:
    """The step `wait_for_fine_tuning_job`."""
    from tuneway.errors import WaitTimeout
    from tuneway.progress import Summarised
    from tuneway.report import check_report_place, write_report_of
    from tuneway.steps import job_summary

    if report_to is not None:
        check_report_place(report_to, field="report_to")
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    settings, token = access.client_settings(), wait_token(job, timeout)
    progress = _notes.JobProgress(token.job_id)
    listener = Summarised(log_one)
    try:
        ended: Job = yield AtService(
            settings,
            lambda client, tell: client.wait(token, on_event=tell),
            lambda batch: _heard(listener, progress, batch),
        )
    except WaitTimeout:
        if cancel_on_timeout:
            yield from _cancel_own(settings, token.job_id)
        raise
    finally:
        progress.leave()
    with_log = report_to is not None
    outcome: Outcome = yield AtService(
        settings, lambda client, _tell: client.outcome(ended, log=with_log, forgiving=True), log_news
    )
    told = f"{one_line(ended.phase)}, {markdown(ended.fine_tuned_model or ended.id)}"
    yield Here(lambda: progress.show(100.0, told))
    report = (yield Here(lambda: write_report_of(outcome, report_to, _runs.logger()))) if with_log else None
    yield Here(lambda: _notes.show_outcome(outcome, report))
    return job_summary(ended, job)


def _cancel_own(settings: Mapping[str, Any], job_id: str) -> Step[None]:
    """Cancel a job that took too long, if this flow run made it."""
    job: Job = yield AtService(settings, lambda client, _tell: client.jobs.retrieve(job_id), log_news)
    own = yield Here(lambda: _runs.is_own(job))
    if own:
        job = yield AtService(settings, lambda client, _tell: client.cancel(job_id), log_news)
    what = f"it is {job.status}" if own else "this flow run didn't make it, and it goes on"
    _runs.logger().info("%s didn't end in time: %s", one_line(job_id), one_line(what))


def wait_token(job: Output, timeout: float | timedelta | None = None) -> WaitToken:
    """The whole state of a wait. Its deadline is counted from the task's start and holds over all retries."""
    import time

    from tuneway import WaitToken
    from tuneway.steps import job_id_of

    if timeout is None:
        deadline = job.get("deadline") if isinstance(job, Mapping) else None
        return WaitToken(job_id=job_id_of(job), deadline=deadline)
    context = TaskRunContext.get()
    started = context.task_run.start_time if context else None
    return WaitToken(
        job_id=job_id_of(job), deadline=(started.timestamp() if started else time.time()) + seconds_in(timeout)
    )


def seconds_in(timeout: float | timedelta) -> float:
    """A time-out in seconds."""
    return timeout if isinstance(timeout, int | float) else timeout.total_seconds()


def _heard(listener: Listener, progress: _notes.JobProgress, batch: list[News]) -> None:
    for news in batch:
        listener(news)
    progress.hear(batch)
