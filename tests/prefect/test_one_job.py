"""One job, whatever Prefect does: retries, runs again, flows in flows, two processes."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow, get_run_logger, unmapped
from prefect.context import FlowRunContext
from support.fault_server import answer, drop_after

from prefect_tuneway import create_fine_tuning_job, fine_tune, wait_for_fine_tuning_job
from tuneway.errors import LookupFailed

MADE: dict[str, Any] = {"model": "gpt-4o-mini", "training_file": "file-1"}


@pytest.fixture(autouse=True)
def _a_file(server):
    server.service.add_file(id="file-1")


def keys(server):
    return [job["metadata"]["tuneway_key"] for job in server.service.jobs]


def test_a_flow_that_is_tried_again_adopts_its_job(server, credentials):
    tries = []

    @flow(retries=2)
    def nightly():
        tries.append(create_fine_tuning_job(**MADE, credentials=credentials)["job_id"])
        if len(tries) < 3:
            raise RuntimeError("not yet")

    nightly()
    assert len(tries) == 3
    assert {job["id"] for job in server.service.jobs} == set(tries)
    assert len(server.service.jobs) == 1


def test_a_run_that_is_started_again_adopts_its_job(server, credentials, again):
    @flow
    def nightly():
        create_fine_tuning_job(**MADE, credentials=credentials)
        raise RuntimeError("killed")

    first = nightly(return_state=True)
    again(nightly, first.state_details.flow_run_id)
    assert len(server.service.jobs) == 1


def test_each_run_has_a_job_of_its_own_unless_content_is_to_be_reused(server, credentials):
    @flow
    def nightly(reuse):
        return create_fine_tuning_job(**MADE, credentials=credentials, reuse=reuse)["job_id"]

    first, second = nightly("run"), nightly("run")
    assert first != second
    assert nightly("content") in (first, second)
    assert len(server.service.jobs) == 2


def test_never_means_a_new_job_for_each_run_of_the_flow(server, credentials, again):
    @flow
    def nightly():
        create_fine_tuning_job(**MADE, credentials=credentials, reuse="never")
        raise RuntimeError("killed")

    first = nightly(return_state=True)
    again(nightly, first.state_details.flow_run_id)
    assert len(server.service.jobs) == 2


def test_never_still_adopts_in_a_retry_of_the_task(server, credentials):
    server.fault(drop_after(), "POST", "/fine_tuning/jobs")
    server.fault(answer({"error": {"message": "down"}}, status=503), "GET", "/fine_tuning/jobs", times=1)
    step = create_fine_tuning_job.with_options(retry_delay_seconds=0)

    @flow
    def nightly():
        return step(**MADE, credentials=credentials, reuse="never")["job_id"]

    made = nightly()
    assert [job["id"] for job in server.service.jobs] == [made]


def test_the_same_training_in_one_run_is_one_job_and_a_key_makes_it_several(server, credentials):
    @flow
    def nightly():
        keys = [None, None, "second", "second", "third"]
        return [create_fine_tuning_job(**MADE, credentials=credentials, key=key)["job_id"] for key in keys]

    one, same, second, again, third = nightly()
    assert (one, second) == (same, again)
    assert len({one, second, third}) == 3


def test_a_mapped_file_that_sorts_in_first_shifts_nothing(server, credentials, again):
    files = ["file-1"]
    server.service.add_file(id="file-0")

    @flow
    def nightly():
        create_fine_tuning_job.map(model="gpt-4o-mini", training_file=files, credentials=unmapped(credentials)).wait()
        files.insert(0, "file-0")
        raise RuntimeError("killed")

    first = nightly(return_state=True)
    again(nightly, first.state_details.flow_run_id)
    assert [job["training_file"] for job in server.service.jobs] == ["file-1", "file-0"]


def test_two_deployments_of_tuneway_on_one_account_keep_their_jobs_apart(server, credentials, monkeypatch):
    @flow
    def nightly(name):
        monkeypatch.setenv("TUNEWAY_DEPLOYMENT", name)
        return create_fine_tuning_job(**MADE, credentials=credentials)["job_id"]

    assert nightly("staging") != nightly("production")
    origins = [job["metadata"]["tuneway_origin"] for job in server.service.jobs]
    assert [origin.partition(" / ")[0] for origin in origins] == ["prefect: staging", "prefect: production"]


def test_another_task_name_or_seed_is_another_job(server, credentials):
    @flow
    def nightly():
        one = create_fine_tuning_job(**MADE, credentials=credentials)["job_id"]
        seeded = create_fine_tuning_job(**MADE, credentials=credentials, seed=7)["job_id"]
        named = create_fine_tuning_job.with_options(name="second opinion")(**MADE, credentials=credentials)["job_id"]
        return one, seeded, named

    assert len(set(nightly())) == 3


def test_a_flow_within_a_flow_asks_for_the_whole_run(server, credentials, data, again):
    @flow
    def outer():
        fine_tune(training_data=str(data), model="gpt-4o-mini", credentials=credentials)
        raise RuntimeError("killed")

    first = outer(return_state=True)
    again(outer, first.state_details.flow_run_id)
    assert len(server.service.jobs) == 1
    assert server.service.jobs[0]["metadata"]["tuneway_origin"] == f"prefect: outer / {first.state_details.flow_run_id}"


def test_a_failed_job_is_followed_by_a_new_one_when_the_run_is_started_again(server, credentials, again):
    server.service.ends = "failed"

    @flow
    def nightly():
        wait_for_fine_tuning_job(create_fine_tuning_job(**MADE, credentials=credentials), credentials=credentials)

    first = nightly(return_state=True)
    server.service.ends = "succeeded"
    assert again(nightly, first.state_details.flow_run_id).is_completed()
    assert [job["status"] for job in server.service.jobs] == ["failed", "succeeded"]


def test_without_any_run_the_content_decides(server, credentials):
    ids = {create_fine_tuning_job.fn(**MADE, credentials=credentials)["job_id"] for _ in range(2)}
    assert len(ids) == 1


def test_a_task_outside_of_a_flow_is_a_run_of_its_own(server, credentials):
    ids = {create_fine_tuning_job(**MADE, credentials=credentials)["job_id"] for _ in range(2)}
    assert len(ids) == 2


def test_a_look_that_fails_creates_nothing(server, credentials):
    server.fault(answer({"error": {"message": "down"}}, status=503), "GET", "/fine_tuning/jobs", times=99)
    impatient = credentials.model_copy(update={"options": {"settle": 0, "retry": None}})
    step = create_fine_tuning_job.with_options(retries=0)
    from tuneway import Retry

    impatient.options["retry"] = Retry(attempts=1)
    with pytest.raises(LookupFailed):
        step(**MADE, credentials=impatient)
    assert not server.service.jobs


def test_nothing_is_created_when_prefect_cannot_tell_which_run_this_is(server, credentials, monkeypatch):
    from prefect_tuneway import _runs

    def unreachable(*_arguments, **_options):
        raise OSError("Prefect's API is away")

    @flow
    def inner():
        monkeypatch.setattr(_runs, "get_client", unreachable)
        create_fine_tuning_job.with_options(retries=0)(**MADE, credentials=credentials)

    @flow
    def outer():
        inner()

    with pytest.raises(LookupFailed, match="API can't be asked about this run"):
        outer()
    assert not server.service.jobs


def test_the_key_does_not_depend_on_where_the_flow_runs(server, credentials, again):
    seen = []

    @flow
    def nightly():
        get_run_logger().info("in %s", FlowRunContext.get().flow_run.id)
        create_fine_tuning_job(**MADE, credentials=credentials)
        seen.append(keys(server)[-1])
        server.service.jobs.clear()
        raise RuntimeError("killed")

    first = nightly(return_state=True)
    again(nightly, first.state_details.flow_run_id)
    assert len(seen) == 2
    assert len(set(seen)) == 1


def test_two_workers_that_run_the_same_run_at_once_have_one_job(server, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from prefect_tuneway import FineTuningCredentials, _runs

    same = _runs.Run("create_fine_tuning_job", "task-run", "root", "home", "nightly")
    monkeypatch.setattr(_runs, "current_run", lambda: same)
    monkeypatch.setattr("prefect_tuneway.hooks.note_credentials", lambda *_: None)
    monkeypatch.setattr("prefect_tuneway._notes.link_to", lambda *_: None)
    server.service.ends = None
    access = FineTuningCredentials(base_url=server.base_url, api_key="sk-1", options={"settle": 1})
    with ThreadPoolExecutor(2) as workers:
        steps = [workers.submit(create_fine_tuning_job.fn, **MADE, credentials=access) for _ in range(2)]
        ids = {step.result()["job_id"] for step in steps}
    assert len(ids) == 1
    assert [job["id"] for job in server.service.alive] == list(ids)


def test_a_step_can_be_sent_to_another_process(server, credentials):
    import cloudpickle

    there = cloudpickle.loads(cloudpickle.dumps(create_fine_tuning_job))
    assert there.name == create_fine_tuning_job.name
    assert there(**MADE, credentials=credentials)["job_id"] == server.service.jobs[0]["id"]
