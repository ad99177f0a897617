"""The step that costs money, and those that stop a job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from prefect_tuneway import _notes, _runs, hooks
from prefect_tuneway._data import log_news
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.credentials import Credentials, FineTuningCredentials, resolve
from tuneway.choices import Reuse, check_word

if TYPE_CHECKING:
    from tuneway import AsyncClient, JobSpec, Recipe, Requester
    from tuneway.client import StartedJob
    from tuneway.progress import Listener, News

Output = str | Mapping[str, Any]
"""An id, or the output of a step that knows it."""


def create(
    training_file: Output,
    validation_file: Output | None,
    *,
    credentials: Credentials,
    key: str | None,
    reuse: Reuse,
    training: Mapping[str, Any],
    max_usd: float | None = None,
) -> Step[dict[str, Any]]:
    """The step `create_fine_tuning_job`."""
    from tuneway.steps import asked_training, job_summary

    what, facts = asked_training({**training, "training_file": training_file, "validation_file": validation_file})
    started, requester = yield from start(what, credentials, key=key, reuse=reuse, max_usd=max_usd)
    return job_summary(started.job, what, data=facts, by=requester)


def start(
    what: Recipe | JobSpec,
    credentials: Credentials,
    *,
    key: str | None,
    reuse: Reuse,
    max_usd: float | None = None,
) -> Step[tuple[StartedJob, Requester]]:
    """Create one job for this, or adopt it; gives who asked as well. A recipe's data is checked and uploaded first."""
    check_word(reuse, Reuse, field="reuse")
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    run: _runs.Run = yield Here(_runs.current_run)
    requester = run.requester(key)
    yield Here(lambda: hooks.note_credentials(run, access))  # before there is a job that a cancel has to find

    async def send(client: AsyncClient, tell: Listener) -> tuple[StartedJob, str]:
        started = await client.start(what, requester, reuse=reuse, max_usd=max_usd, on_event=noting_marks(run, tell))
        return started, client.base_url

    started, base_url = yield AtService(access.client_settings(), send, log_news)
    yield Here(lambda: _notes.link_to(started.job, base_url))
    return started, requester


def noting_marks(run: _runs.Run, tell: Listener) -> Listener:
    """A listener that notes on the flow run which job is about to be created, where the job won't show it."""
    from tuneway.progress import CreatePlanned

    def hear(news: News) -> object:
        tell(news)
        if isinstance(news, CreatePlanned) and not news.origin_kept and run.home is not None:
            return asyncio.to_thread(_runs.note_mark, run.home, news.mark)
        return None

    return hear


def control(verb: Literal["cancel", "pause", "resume"], job: Output, credentials: Credentials) -> Step[dict[str, Any]]:
    """The steps that stop a job, or let it go on."""
    from tuneway.steps import job_id_of, job_summary

    job_id = job_id_of(job)
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    after = yield AtService(access.client_settings(), lambda client, _tell: getattr(client, verb)(job_id), log_news)
    return job_summary(after, job)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given: Prefect hands on the defaults of the others."""
    return {name: value for name, value in fields.items() if value is not None}
