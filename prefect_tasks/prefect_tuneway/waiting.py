"""Waiting without a worker: a flow run is suspended, and resumed when its job has ended.

    @flow(on_cancellation=[cancel_jobs])
    def nightly():
        file = upload_training_file("train.jsonl")
        job = create_fine_tuning_job(model="gpt-4o-mini", training_file=file)
        done = suspend_until_ended(job)
        return register_model(done, name="support-router")

The process of a suspended run ends; what is left is its resume token, a label on the flow run, and a tag, by which
Prefect's server finds the run among all others. `resume_ended_runs`, deployed on a schedule or started by a webhook,
looks at all jobs that suspended runs wait for, with about one request for a hundred, and resumes the runs whose jobs
have ended. A resumed run begins at its first line: its file is found, its job adopted, and it goes on from there.
"""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from prefect_tuneway import _runs, hooks
from prefect_tuneway._jobs import Output
from prefect_tuneway._steps import AtService, Here, Step, arun, run
from prefect_tuneway._wait import wait_token
from prefect_tuneway.credentials import Credentials, FineTuningCredentials, resolve
from tuneway._escape import one_line

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

    from tuneway import WaitToken
    from tuneway.models import Job

TOKEN, SERVICE, CANCELS = "tuneway.waits_for", "tuneway.service", "tuneway.cancels"
"""Labels on a suspended flow run: its resume token, the job's service, and whether a cancel cancels the job."""

TAG = "tuneway-waits"
"""A tag on the same runs: Prefect's server can be asked for runs by their tags, and not by their labels."""

LOOK_BACK = timedelta(days=7)
"""A run that was cancelled longer ago isn't looked at any more."""

LONGEST = timedelta(days=30)
"""How long a run stays suspended, unless its wait has a deadline."""

PAGE = 200

SUSPENDED: dict[str, Any] = {"state": {"name": {"any_": ["Suspended"]}}}
CANCELLED: dict[str, Any] = {"state": {"type": {"any_": ["CANCELLED"]}}}


def suspend_until_ended(
    job: Output,
    *,
    credentials: Credentials = None,
    timeout: float | timedelta | None = None,
) -> dict[str, Any]:
    """Suspend the flow run until a job has ended, and give its result. A job that has ended suspends nothing.

    Call it in the flow itself, in a run of a deployment: Prefect can't start other runs again.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        timeout: Seconds (or a timedelta) from the first suspension; then the step fails, and the job goes on.

    Raises:
        JobFailed: It failed, and the message says why.
        JobCancelled: Somebody cancelled it.
        WaitTimeout: The time is up.
    """
    ended, token = run(_look(job, credentials, timeout))
    if ended is None:
        _suspend(token)
        ended, _ = run(_look(job, credentials, timeout))
    return _done(ended, token, job)


async def asuspend_until_ended(
    job: Output,
    *,
    credentials: Credentials = None,
    timeout: float | timedelta | None = None,  # noqa: ASYNC109 - of the service's work, not of this call
) -> dict[str, Any]:
    """`suspend_until_ended`, to be awaited."""
    ended, token = await arun(_look(job, credentials, timeout))
    if ended is None:
        await _suspend(token)
        ended, _ = await arun(_look(job, credentials, timeout))
    return _done(ended, token, job)


@flow(name="resume_ended_runs")
def resume_ended_runs(
    credentials: Credentials = None,
    job_id: str | None = None,
    untagged: bool = False,  # noqa: FBT001, FBT002 - a deployment's form has names
) -> list[str]:
    """Resume the suspended flow runs whose jobs have ended; gives their ids.

    A suspended run that a person has cancelled has no process that could cancel its job. It is cancelled here, if
    the flow has the hook `cancel_jobs`.

    Args:
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        job_id: Look at this job only: for a webhook that says which job has ended.
        untagged: Look at all suspended runs, and give the tag to those that wait. Needed once, for runs that an
            earlier version suspended without the tag.
    """
    if untagged:
        _tag_waiting()
    return run(_resume(credentials, job_id))


def _look(
    job: Output, credentials: Credentials, timeout: float | timedelta | None
) -> Step[tuple[Job | None, WaitToken]]:
    """Look at the job once. If it is alive, note on the flow run that it waits for it."""
    from tuneway.errors import JobError, TunewayError

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    token: WaitToken = yield Here(lambda: _noted(wait_token(job, timeout)))
    found, service = yield AtService(
        access.client_settings(), lambda client, _tell: _see(client, token), lambda _batch: None
    )
    if isinstance(found, TunewayError):
        if isinstance(found, JobError) or not found.retryable:
            raise found
    elif found.done:
        return found, token
    context = FlowRunContext.get()
    cancels = hooks.is_attached(context.flow if context else None)
    labels = {TOKEN: token.dump(), SERVICE: service, CANCELS: cancels}
    yield Here(lambda: _note(_this_flow_run(), labels, waits=True))
    return None, token


async def _see(client: Any, token: WaitToken) -> tuple[Any, str]:
    return (await client.look([token]))[0], client.base_url


def _resume(credentials: Credentials, job_id: str | None) -> Step[list[str]]:
    from tuneway import WaitToken
    from tuneway.errors import JobError

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    with access.get_client() as client:
        service = client.base_url
    yield Here(lambda: _cancel_for_cancelled(service, access))
    waiting: list[FlowRun] = yield Here(lambda: _waiting_runs(service, SUSPENDED))
    waits = [(flow_run, WaitToken.load(str(flow_run.labels[TOKEN]))) for flow_run in waiting]
    waits = [(flow_run, token) for flow_run, token in waits if job_id in (None, token.job_id)]
    if not waits:
        return []
    seen = yield AtService(
        access.client_settings(), lambda client, _tell: client.look([token for _, token in waits]), lambda _batch: None
    )
    log, resumed = _runs.logger(), []
    for (flow_run, token), found in zip(waits, seen, strict=True):
        if isinstance(found, JobError) or getattr(found, "done", False):
            yield Here(functools.partial(_go_on, flow_run))
            log.info("%s has ended: run %s is resumed", one_line(token.job_id), flow_run.name)
            resumed.append(str(flow_run.id))
        elif isinstance(found, Exception):
            log.warning("%s can't be read, so run %s stays suspended: %s", one_line(token.job_id), flow_run.name, found)
    return resumed


def _cancel_for_cancelled(service: str, access: FineTuningCredentials) -> None:
    """Cancel the jobs of runs that were cancelled while they were suspended, once."""
    since = (datetime.now(UTC) - LOOK_BACK).isoformat()
    for flow_run in _waiting_runs(service, CANCELLED | {"end_time": {"after_": since}}):
        if flow_run.labels.get(CANCELS) is True and hooks.cancel_if_asked(flow_run, _runs.logger(), access):
            _note(flow_run.id, {CANCELS: False}, waits=False)


def _waiting_runs(service: str, which: dict[str, Any]) -> list[FlowRun]:
    """The flow runs that match and that wait, or waited, for a job at this service."""
    found = _runs_with_token({**which, "tags": {"all_": [TAG]}})
    return [run for run in found if run.labels.get(SERVICE) == service]


def _tag_waiting() -> None:
    """Give the tag to suspended runs that wait without it."""
    for flow_run in _runs_with_token(SUSPENDED):
        if TAG not in flow_run.tags:
            _note(flow_run.id, {}, waits=True)


def _runs_with_token(which: dict[str, Any]) -> list[FlowRun]:
    """The flow runs that match and that have a resume token."""
    from prefect.client.schemas.filters import FlowRunFilter

    found: list[FlowRun] = []
    with get_client(sync_client=True) as client:
        while True:
            page = client.read_flow_runs(
                flow_run_filter=FlowRunFilter.model_validate(which), limit=PAGE, offset=len(found)
            )
            found += page
            if len(page) < PAGE:
                break
    return [run for run in found if TOKEN in (run.labels or {})]


def _noted(token: WaitToken) -> WaitToken:
    """The wait as it was noted when it began: its deadline doesn't start again with each resume."""
    from tuneway import WaitToken
    from tuneway.errors import InvalidInput

    flow_run = _this_flow_run()
    with get_client(sync_client=True) as client:
        noted = (client.read_flow_run(flow_run).labels or {}).get(TOKEN)
    if noted is None:
        return token
    try:
        before = WaitToken.load(str(noted))
    except InvalidInput:
        return token
    return before if before.job_id == token.job_id else token


def _note(flow_run: UUID, labels: dict[str, bool | int | float | str], *, waits: bool) -> None:
    """Leave labels on a flow run, and the tag as long as it is to be found by it."""
    with get_client(sync_client=True) as client:
        if labels:
            client.update_flow_run_labels(flow_run, labels)
        tags = set(client.read_flow_run(flow_run).tags)
        if (TAG in tags) != waits:
            client.update_flow_run(flow_run, tags=sorted(tags ^ {TAG})).raise_for_status()


def _suspend(token: WaitToken) -> Any:
    """Suspend the flow run: at once in a flow that blocks, when awaited in an async one."""
    from prefect.flow_runs import suspend_flow_run

    # with another key each time: a run that was resumed too early is suspended again
    return suspend_flow_run(timeout=_patience(token), key=f"{token.job_id}-{time.time()}")


def _go_on(flow_run: FlowRun) -> None:
    from prefect.flow_runs import resume_flow_run

    resume_flow_run(flow_run.id, _sync=True)  # type: ignore[call-arg]  # what its decorator adds


def _this_flow_run() -> UUID:
    from tuneway.errors import InvalidInput

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise InvalidInput(
            "there is no flow run to suspend", hint="Call it in a flow, or use wait_for_fine_tuning_job."
        )
    return context.flow_run.id


def _patience(token: WaitToken) -> int:
    """Seconds to stay suspended: longer than the wait's deadline, after which the run is resumed to raise its error."""
    if token.deadline is None:
        return int(LONGEST.total_seconds())
    return max(1, int(token.deadline - time.time())) + 3600


def _done(ended: Job | None, token: WaitToken, job: Output) -> dict[str, Any]:
    from tuneway.errors import WaitTimeout
    from tuneway.steps import job_summary

    if ended is None:
        raise WaitTimeout(f"{token.job_id} hasn't ended, and the run was resumed", job_id=token.job_id)
    return job_summary(ended, job)
