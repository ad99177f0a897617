"""The step that waits: on a poll that all waits of the process share, and seen in Prefect's UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext

from prefect_tuneway import _notes
from prefect_tuneway._data import log_news
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.credentials import FineTuningCredentials, resolve

if TYPE_CHECKING:
    from datetime import timedelta

    from tuneway import AsyncClient, WaitToken
    from tuneway.models import Job


def wait_for_fine_tuning_job(
    job: str | Mapping[str, Any],
    *,
    credentials: FineTuningCredentials | str | None = None,
    timeout: float | timedelta | None = None,
    cancel_on_timeout: bool = False,
) -> Step[dict[str, Any]]:
    """Wait until a job has succeeded. The output says what came of it: the model's name, trained tokens.

    All waits of a process on the same account share one poll. The job's log is told in the task's, its
    progress is a progress artifact, and its metrics, checkpoints and curve are artifacts when it has ended.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
        timeout: Seconds (or a timedelta) from the task's start, over all its retries.
        cancel_on_timeout: Whether the job is cancelled when the time is up; else it goes on.
    """
    from tuneway.errors import WaitTimeout
    from tuneway.steps import job_summary

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    settings, token = access.client_settings(), wait_token(job, timeout)
    progress = _notes.JobProgress(token.job_id)
    try:
        ended: Job = yield AtService(
            settings, lambda client, tell: client.wait(token, on_event=tell), lambda batch: _heard(progress, batch)
        )
    except WaitTimeout:
        if cancel_on_timeout:
            yield AtService(settings, lambda client, _tell: client.cancel(token.job_id), log_news)
        raise
    finally:
        progress.leave()
    measured = yield AtService(settings, lambda client, _tell: _results(client, ended), log_news)
    yield Here(lambda: progress.show(100.0, f"{ended.status}, `{ended.fine_tuned_model}`"))
    yield Here(lambda: _notes.show_results(ended, *measured))
    return job_summary(ended, job)


def wait_token(job: str | Mapping[str, Any], timeout: float | timedelta | None = None) -> WaitToken:
    """The wait's whole state; its deadline is counted from the task's start, and holds over all retries."""
    import time

    from tuneway import WaitToken
    from tuneway.steps import job_id_of

    if timeout is None:
        deadline = job.get("deadline") if isinstance(job, Mapping) else None
        return WaitToken(job_id=job_id_of(job), deadline=deadline)
    seconds = timeout if isinstance(timeout, int | float) else timeout.total_seconds()
    context = TaskRunContext.get()
    started = context.task_run.start_time if context else None
    return WaitToken(job_id=job_id_of(job), deadline=(started.timestamp() if started else time.time()) + seconds)


def _heard(progress: _notes.JobProgress, batch: list[Any]) -> None:
    log_news(batch)
    progress.hear(batch)


async def _results(client: AsyncClient, job: Job) -> tuple[list[Any], list[Any], str]:
    """A job's metrics and checkpoints, as far as the service has them: they are for looking at."""
    from tuneway.errors import TunewayError

    rows: list[Any] = []
    checkpoints: list[Any] = []
    try:
        if job.result_files:
            rows = await client.result_metrics(job)
        checkpoints = [checkpoint async for checkpoint in client.jobs.checkpoints(job.id)][::-1]
    except TunewayError as error:
        _notes.forgive("what the training measured", error)
    return rows, checkpoints, client.base_url
