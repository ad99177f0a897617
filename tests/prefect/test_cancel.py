"""A person's cancel cancels the paid job; whatever else ends a run leaves it alive."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Cancelling, Crashed, Running
from prefect.task_runners import ThreadPoolTaskRunner

from prefect_tuneway import (
    FineTuningCredentials,
    _room,
    _runs,
    acreate_fine_tuning_job,
    await_for_fine_tuning_job,
    cancel_jobs,
    cancel_jobs_with,
    create_fine_tuning_job,
    fine_tune,
    hooks,
    wait_for_fine_tuning_job,
)
from tuneway import JobSpec, Retry
from tuneway.errors import ConnectionFailed

MADE: dict[str, Any] = {"model": "gpt-4o-mini", "training_file": "file-1"}


@pytest.fixture(autouse=True)
def _a_file(server):
    server.service.ends = None
    server.service.add_file(id="file-1")


@flow
def create_one(access, **more):
    create_fine_tuning_job(**MADE, credentials=access, **more)


def made(flow, *arguments, **options):
    """Run a flow; gives the flow run as it was left."""
    state = flow(*arguments, return_state=True, **options)
    return read(state.state_details.flow_run_id)


def read(flow_run_id):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id)


def put(flow_run, state):
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, state, force=True)


def forget():
    """What this process remembers of runs: another process has never known."""
    hooks._remembered.clear()


def statuses(server):
    return [job["status"] for job in server.service.jobs]


@pytest.mark.parametrize("state", [Cancelling(), Cancelled()], ids=["cancelling", "cancelled"])
def test_a_cancelled_run_cancels_its_job_and_no_other(server, credentials, state):
    other, run = made(create_one, credentials), made(create_one, credentials)
    put(run, state)
    cancel_jobs(create_one, run, state)
    assert statuses(server) == ["validating_files", "cancelled"]
    assert other.id != run.id


@pytest.mark.parametrize("state", [Running(), Crashed()], ids=["still running", "crashed"])
def test_a_run_that_ends_for_another_reason_leaves_its_job_alone(server, credentials, state):
    run = made(create_one, credentials)
    put(run, state)
    cancel_jobs(create_one, run, Cancelling(message="Runner is shutting down."))
    assert statuses(server) == ["validating_files"]


def test_a_hook_in_another_process_finds_the_credentials_by_the_stored_block(server, credentials, monkeypatch):
    credentials.save("elsewhere", overwrite=True, _sync=True)
    run = made(create_one, "elsewhere")
    forget()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    run = read(run.id)
    put(run, Cancelling())
    cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["cancelled"]


def test_a_hook_in_another_process_else_asks_as_its_environment_says(server, credentials):
    run = made(create_one, credentials)  # which nobody has stored
    forget()
    put(run, Cancelling())
    cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["cancelled"]


def test_a_hook_can_have_credentials_of_its_own(server, credentials, monkeypatch):
    run = made(create_one, credentials)
    forget()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    put(run, Cancelling())
    hook = cancel_jobs_with(FineTuningCredentials(base_url=server.base_url, options={"settle": 0}))
    hook(create_one, run, Cancelling())
    assert statuses(server) == ["cancelled"]


def test_a_job_that_was_only_adopted_from_another_run_lives_on(server, credentials):
    made(create_one, credentials)
    run = made(create_one, credentials, reuse="content")
    put(run, Cancelling())
    cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["validating_files"]


@pytest.mark.parametrize("who", ["another flow", "the plain client"])
def test_a_job_of_the_same_content_that_another_made_lives_on(server, credentials, who):
    @flow
    def weekly():
        create_fine_tuning_job(**MADE, credentials=credentials)

    if who == "another flow":
        weekly()
    else:
        with credentials.get_client() as client:
            client.submit(JobSpec(**MADE), key="by hand")
    run = made(create_one, credentials, reuse="content")
    put(run, Cancelling())
    cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["validating_files"]


def test_a_job_that_a_run_made_for_anybodys_reuse_is_still_its_own(server, credentials):
    run = made(create_one, credentials, reuse="content")
    put(run, Cancelling())
    cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["cancelled"]


def test_the_deployments_name_is_part_of_the_mark_by_which_a_cancel_finds_jobs(server, credentials, monkeypatch):
    monkeypatch.setenv("TUNEWAY_DEPLOYMENT", "staging")
    run = made(create_one, credentials)
    put(run, Cancelling())
    monkeypatch.setenv("TUNEWAY_DEPLOYMENT", "production")
    cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["validating_files"]
    monkeypatch.setenv("TUNEWAY_DEPLOYMENT", "staging")
    cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["cancelled"]


def test_a_cancelled_run_cancels_what_its_inner_flows_have_made(server, credentials):
    @flow
    def outer():
        create_one(credentials)

    run = made(outer)
    put(run, Cancelling())
    cancel_jobs(outer, run, Cancelling())
    assert statuses(server) == ["cancelled"]


def test_the_hook_is_part_of_the_whole_flow():
    assert cancel_jobs in fine_tune.on_cancellation_hooks
    assert cancel_jobs in fine_tune.with_options(name="mine", retries=2).on_cancellation_hooks


@task
def wait_within(job, **options):
    """A wait in a task of one's own, which is what the task runner knows."""
    return wait_for_fine_tuning_job(job, **options)


@pytest.mark.parametrize("wait", [wait_for_fine_tuning_job, await_for_fine_tuning_job, wait_within])
def test_a_wait_in_a_thread_ends_when_its_run_does(server, credentials, monkeypatch, wait):
    monkeypatch.setattr(_room, "SLICE", 0.05)
    server.service.add_job(id="ftjob-1", status="running")

    @flow
    def nightly():
        wait.submit("ftjob-1", credentials=credentials)
        while not server.asked("GET", "/fine_tuning/jobs/ftjob-1"):
            threading.Event().wait(0.02)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nightly()
    # the task runner joins its threads: this is reached only when the wait has ended
    assert server.service.job("ftjob-1")["status"] == "running"


def test_prefect_still_has_the_private_attribute_that_ends_a_wait_in_a_thread():
    runner = ThreadPoolTaskRunner()
    assert hasattr(runner, _runs.CANCEL_EVENTS), "Prefect has renamed it: see prefect_tuneway._runs.is_cancelled"
    with runner:
        runner.submit(task(lambda: None), parameters={}).wait()
        assert [event.is_set() for event in getattr(runner, _runs.CANCEL_EVENTS).values()] == [False]
        runner.cancel_all()
        assert [event.is_set() for event in getattr(runner, _runs.CANCEL_EVENTS).values()] == [True]


def test_a_step_in_a_task_of_your_own_counts_as_the_same_run(server, credentials):
    @task
    def mine():
        create_fine_tuning_job(**MADE, credentials=credentials)

    @flow
    def outer():
        mine.submit().wait()

    run = made(outer)
    put(run, Cancelling())
    cancel_jobs(outer, run, Cancelling())
    assert statuses(server) == ["cancelled"]


async def test_async_flows_take_the_same_hook(server, credentials):
    @flow(on_cancellation=[cancel_jobs])
    async def nightly():
        await acreate_fine_tuning_job(**MADE, credentials=credentials)

    state = await nightly(return_state=True)
    assert state.is_completed()
    assert nightly.on_cancellation_hooks == [cancel_jobs]


def test_an_account_that_refuses_does_not_keep_anothers_job_alive(server, credentials):
    gone = FineTuningCredentials(base_url="http://127.0.0.1:9/v1", options={"settle": 0, "retry": Retry(attempts=1)})
    run = made(create_one, credentials)
    hooks._remembered[str(run.id)].insert(0, gone)
    put(run, Cancelling())
    with pytest.raises(ConnectionFailed):
        cancel_jobs(create_one, run, Cancelling())
    assert statuses(server) == ["cancelled"]
