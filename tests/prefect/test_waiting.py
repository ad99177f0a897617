"""Waiting without a worker: who is resumed, and whose job is cancelled."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest
from prefect import flow, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Cancelled, Suspended
from support.fault_server import answer
from support.service import until

from prefect_tuneway import (
    _room,
    _runs,
    cancel_jobs,
    create_fine_tuning_job,
    resume_ended_runs,
    suspend_until_ended,
    wait_for_fine_tuning_job,
    waiting,
)
from tuneway import WaitToken
from tuneway.errors import InvalidInput, JobFailed, WaitTimeout


@pytest.fixture
def resumed(monkeypatch):
    """Who was resumed."""
    ids = []
    monkeypatch.setattr(waiting, "_go_on", lambda flow_run: ids.append(str(flow_run.id)))
    return ids


@pytest.fixture
def suspend(server, credentials, monkeypatch):
    """Suspends a flow run until this job ends; gives the run's id. Without a deployment, so by hand."""
    ids = []

    class Aside(Exception):
        pass

    def step_aside(token):
        raise Aside

    monkeypatch.setattr(waiting, "_suspend", step_aside)

    def suspend(hooks=(), **options):
        server.service.ends = None
        server.service.add_file(id="file-1")

        @flow(on_cancellation=list(hooks))
        def patient():
            job = create_fine_tuning_job(model="m", training_file="file-1", credentials=credentials)
            ids.append(job["job_id"])
            suspend_until_ended(job, credentials=credentials, **options)

        run_id = patient(return_state=True).state_details.flow_run_id
        put(run_id, Suspended())
        return str(run_id), ids[-1]

    return suspend


def put(run_id, state):
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, state, force=True)


def labels(run_id):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id).labels


def test_a_suspended_run_leaves_its_resume_token_and_nothing_secret(suspend, server):
    run_id, job_id = suspend(timeout=3600)
    left = labels(run_id)
    token = WaitToken.load(left["tuneway.waits_for"])
    assert (token.job_id, left["tuneway.service"]) == (job_id, server.base_url)
    assert token.deadline is not None
    assert "sk-hidden" not in str(left)


@pytest.mark.parametrize("ends", ["succeeded", "failed", "cancelled"])
def test_a_run_is_resumed_when_its_job_has_ended_well_or_not(suspend, server, credentials, resumed, ends):
    (done, job_id), (waits, _) = suspend(), suspend()
    server.service.finish(job_id, ends)
    assert done in resume_ended_runs(credentials)
    assert done in resumed
    assert waits not in resumed


def test_all_suspended_runs_are_looked_at_with_few_requests(suspend, server, credentials, resumed):
    for _ in range(5):  # one by one they would be five requests
        suspend()
    server.forget()
    resume_ended_runs(credentials)
    assert len(server.arrived) <= 3


@pytest.mark.parametrize("others", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_runs_of_others_cost_nothing(suspend, server, credentials, resumed, monkeypatch, others):
    monkeypatch.setattr(waiting, "PAGE", 10)  # of 200: so thirty are as many pages as six hundred
    mine, job_id = suspend([cancel_jobs])
    server.service.finish(job_id)

    @flow
    def of_another():
        pass

    with get_client(sync_client=True) as client:
        for number in range(others):
            client.create_flow_run(of_another, state=Suspended() if number % 2 else Cancelled())
    asked = []
    read = SyncPrefectClient.read_flow_runs

    def counted(client, **options):
        asked.append(read(client, **options))
        return asked[-1]

    monkeypatch.setattr(SyncPrefectClient, "read_flow_runs", counted)
    assert resume_ended_runs(credentials, job_id=job_id) == [mine]
    pages, ours = list(asked), tagged()
    assert {run.name for page in pages for run in page} <= ours
    assert len(pages) <= 2 + len(ours) // 10


def tagged():
    """The names of all runs that wait, or waited, for a job: those of other tests among them."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"tags": {"all_": [waiting.TAG]}}), limit=200
        )
    return {run.name for run in found}


def test_a_suspended_run_keeps_its_own_tags(server, credentials, monkeypatch):
    monkeypatch.setattr(waiting, "_suspend", lambda _token: None)
    server.service.add_job(id="ftjob-1", status="running")

    @flow
    def patient():
        suspend_until_ended("ftjob-1", credentials=credentials)

    with tags("nightly"):
        run_id = patient(return_state=True).state_details.flow_run_id
    with get_client(sync_client=True) as client:
        assert set(client.read_flow_run(run_id).tags) == {"nightly", waiting.TAG}


def test_a_run_that_was_suspended_without_the_tag_is_found_when_asked_for(suspend, server, credentials, resumed):
    run_id, job_id = suspend()
    server.service.finish(job_id)
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(run_id), tags=["nightly"])
    assert run_id not in resume_ended_runs(credentials)
    assert run_id in resume_ended_runs(credentials, untagged=True)
    with get_client(sync_client=True) as client:
        assert set(client.read_flow_run(UUID(run_id)).tags) == {"nightly", waiting.TAG}


def test_a_webhook_asks_for_its_job_alone(suspend, server, credentials, resumed):
    (one, first), (_, second) = suspend(), suspend()
    for job_id in (first, second):
        server.service.finish(job_id)
    assert resume_ended_runs(credentials, job_id=first) == [one]


def test_a_run_whose_time_is_up_is_resumed_to_say_so(suspend, server, credentials, resumed):
    run_id, job_id = suspend(timeout=3600)
    late = WaitToken(job_id=job_id, deadline=1.0).dump()
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(run_id), {"tuneway.waits_for": late})
    assert run_id in resume_ended_runs(credentials)


@pytest.mark.parametrize(("hooks", "end"), [([cancel_jobs], "cancelled"), ([], "validating_files")])
def test_a_suspended_run_that_was_cancelled_has_its_job_cancelled_if_its_flow_says_so(
    suspend, server, credentials, resumed, hooks, end
):
    run_id, job_id = suspend(hooks)
    put(run_id, Cancelled())
    resume_ended_runs(credentials)
    assert server.service.job(job_id)["status"] == end
    server.forget()
    resume_ended_runs(credentials)
    assert not server.asked("POST")


def test_a_job_that_has_ended_suspends_nobody(server, credentials):
    server.service.add_job(id="ftjob-1", status="succeeded", fine_tuned_model="ft:m")
    server.service.add_job(id="ftjob-2", status="failed")

    @flow
    def patient(job):
        return suspend_until_ended(job, credentials=credentials)

    assert patient("ftjob-1")["fine_tuned_model"] == "ft:m"
    assert patient({"job_id": "ftjob-1", "requested": {"n_epochs": 3}})["requested"] == {"n_epochs": 3}
    with pytest.raises(JobFailed):
        patient("ftjob-2")


@pytest.mark.parametrize("form", ["called", "submitted"])
def test_a_wait_ends_when_a_person_suspends_its_run(server, credentials, monkeypatch, form):
    monkeypatch.setattr(_room, "SLICE", 0.05)
    server.service.add_job(id="ftjob-1", status="running")

    @flow
    def nightly():
        request = getattr(FlowRunContext.get(), _runs.SUSPENSION)

        def suspend():
            until(lambda: server.arrived)
            request.mark_requested(Suspended())

        threading.Thread(target=suspend).start()
        if form == "called":
            wait_for_fine_tuning_job("ftjob-1", credentials=credentials)
        else:
            wait_for_fine_tuning_job.submit("ftjob-1", credentials=credentials).result()

    with pytest.raises(Pause):  # so does Prefect's own way to suspend a run
        nightly()
    assert not server.asked("POST")


def test_a_deadline_that_has_passed_ends_the_wait(server, credentials):
    server.service.add_job(id="ftjob-1", status="running")

    @flow
    def patient():
        return suspend_until_ended({"job_id": "ftjob-1", "deadline": 1.0}, credentials=credentials)

    with pytest.raises(WaitTimeout):
        patient()


def test_without_a_flow_run_there_is_nothing_to_suspend(server, credentials):
    server.service.add_job(id="ftjob-1", status="running")
    with pytest.raises(InvalidInput, match="no flow run"):
        suspend_until_ended("ftjob-1", credentials=credentials)


@pytest.mark.parametrize(("status", "aside"), [(503, True), (401, False), (404, False)])
def test_a_look_that_fails_suspends_only_where_time_may_cure_it(server, credentials, monkeypatch, status, aside):
    suspended = []
    monkeypatch.setattr(waiting, "_suspend", suspended.append)
    server.service.add_job(id="ftjob-1", status="running")
    server.fault(answer({"error": {"message": "no"}}, status=status), "GET", times=1)

    @flow
    def patient():
        return suspend_until_ended("ftjob-1", credentials=credentials)

    assert patient(return_state=True).is_failed()
    assert bool(suspended) is aside
