"""A real Prefect server and real process workers, killed and cancelled while they work."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from support.fault_server import FaultServer
from support.quick_service import QuickService, serving_jobs_that_go_on
from support.real_prefect import Prefect
from support.support_chats import chats

import tuneway

HIDDEN = "a word of the rows"
GIVEN_ROWS = """
from prefect import flow, task
from prefect_tuneway import fine_tune, upload_training_file

def made(count):
    word = " ".join(["a", "word", "of", "the", "rows"])
    return [{"prompt": f"{number} is {word}", "completion": "yes"} for number in range(count)]

@task
def query():
    return made(30)

@flow
def own():
    return upload_training_file(query())

own()
state = fine_tune(training_data=made(40), validation_data=0.4, model="base", return_state=True)
print(state.state_details.flow_run_id)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a wait that is too long fails before, and shows the logs

FLOWS = Path(__file__).parent.parent / "support" / "prefect_flows.py"


@pytest.fixture(scope="module")
def service():
    with serving_jobs_that_go_on() as server:
        yield server


@pytest.fixture(scope="module")
def prefect(service, tmp_path_factory):
    place = f"sqlite:///{tmp_path_factory.mktemp('registry')}/models.db"
    with Prefect.running(FLOWS, OPENAI_BASE_URL=service.base_url, TUNEWAY_REGISTRY_URI=place) as prefect:
        yield prefect


@pytest.fixture(scope="module")
def deployments(prefect):
    return {name: prefect.deploy(f"flows.py:{name}") for name in ("nightly", "outer", "without_a_worker")}


@pytest.fixture
def worker(prefect):
    """A worker; some tests end it."""
    if "worker" not in prefect.processes:
        prefect.start_worker()


@pytest.fixture
def start(prefect, service, deployments, tmp_path):
    """Starts a run, and waits until its job is there."""
    path = tmp_path / "train.jsonl"
    seed = abs(hash(str(tmp_path))) % 1_000_000
    path.write_text("\n".join(map(json.dumps, chats(24, seed=seed))) + "\n")

    def start(name):
        before = len(service.service.jobs)
        run_id = prefect.trigger(deployments[name], path=str(path))
        prefect.until(lambda: len(service.service.jobs) > before, what=lambda: prefect.state(run_id))
        return run_id, service.service.jobs[-1]["id"]

    return start


def waits(service, job_id):
    """Whether somebody has looked at the job since now."""
    seen = len(service.asked("GET", f"/fine_tuning/jobs/{job_id}"))
    return lambda: len(service.asked("GET", f"/fine_tuning/jobs/{job_id}")) > seen


def made_for(service, job_id):
    """All jobs for the same wish."""
    key = service.service.job(job_id)["metadata"]["tuneway_key"]
    return [job["id"] for job in service.service.jobs if job["metadata"]["tuneway_key"] == key]


def status(service, job_id):
    return service.service.job(job_id)["status"]


@pytest.mark.parametrize("when", ["in the create, whose result nobody has", "in the wait"])
def test_a_run_whose_process_is_killed_adopts_its_job_when_it_is_run_again(prefect, service, start, worker, when):
    run_id, job_id = start("nightly")
    if when == "in the wait":
        prefect.until(waits(service, job_id))
    prefect.kill_run(run_id)
    prefect.until_state(run_id, "Crashed", "Failed")
    prefect.until_told(run_id)
    assert status(service, job_id) == "validating_files"
    looked = waits(service, job_id)
    prefect.run("flow-run", "retry", run_id)
    prefect.until(looked, what=lambda: prefect.state(run_id))
    service.service.train(job_id)
    prefect.until_state(run_id, "Completed")
    assert made_for(service, job_id) == [job_id]


def test_a_run_that_a_person_cancels_cancels_its_job(prefect, service, start, worker):
    run_id, job_id = start("nightly")
    prefect.until(waits(service, job_id))
    prefect.cancel(run_id)
    prefect.until_state(run_id, "Cancelled")
    assert status(service, job_id) == "cancelled"


def test_a_run_that_is_cancelled_within_its_create_leaves_no_job(prefect, service, start, worker):
    run_id, job_id = start("nightly")  # the create is still settling
    prefect.cancel(run_id)
    prefect.until_state(run_id, "Cancelled")
    prefect.until(lambda: status(service, job_id) == "cancelled")


def test_a_cancel_reaches_the_whole_flow_within_another(prefect, service, start, worker):
    run_id, job_id = start("outer")
    prefect.until(waits(service, job_id))
    prefect.cancel(run_id)
    prefect.until_state(run_id, "Cancelled")
    prefect.until(lambda: status(service, job_id) == "cancelled")


def test_a_cancel_after_the_flows_own_process_is_gone_cancels_the_job(prefect, service, start, worker):
    run_id, job_id = start("nightly")
    prefect.until(waits(service, job_id))
    stopped = prefect.pids_of(run_id)
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    prefect.cancel(run_id)  # nobody in there can hear it; Prefect kills it, and runs the hook elsewhere
    prefect.until(lambda: status(service, job_id) == "cancelled")


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_worker_that_goes_away_leaves_the_job_alive_and_another_adopts_it(prefect, service, start, worker, sign):
    run_id, job_id = start("nightly")
    prefect.until(waits(service, job_id))
    prefect.kill("worker", sign)
    prefect.kill_run(run_id)
    assert status(service, job_id) == "validating_files"
    prefect.reschedule(run_id)
    prefect.start_worker()
    prefect.until(waits(service, job_id))
    service.service.train(job_id)
    prefect.until_state(run_id, "Completed")
    assert made_for(service, job_id) == [job_id]


def test_a_run_waits_without_a_worker_and_is_resumed_when_its_job_has_ended(prefect, service, start, worker):
    run_id, job_id = start("without_a_worker")
    prefect.until_state(run_id, "Suspended")
    prefect.until_gone(run_id)
    labels = prefect.flow_run(run_id)["labels"]
    assert tuneway.WaitToken.load(labels["tuneway.waits_for"]).job_id == job_id
    look = "from prefect_tuneway import resume_ended_runs; print('resumed', resume_ended_runs())"
    assert run_id not in prefect.python(look)
    service.service.train(job_id)
    assert run_id in prefect.python(look)
    prefect.until_state(run_id, "Completed")
    assert made_for(service, job_id) == [job_id]


def test_a_suspended_run_that_is_cancelled_has_its_job_cancelled_by_the_next_look(prefect, service, start, worker):
    run_id, job_id = start("without_a_worker")
    prefect.until_state(run_id, "Suspended")
    prefect.until_gone(run_id)
    prefect.cancel(run_id)
    prefect.until_state(run_id, "Cancelled")
    assert status(service, job_id) == "validating_files"
    prefect.python("from prefect_tuneway import resume_ended_runs; resume_ended_runs()")
    assert status(service, job_id) == "cancelled"


def test_rows_that_are_given_to_the_flow_are_in_no_file_of_prefect(prefect):
    with FaultServer(QuickService()) as server:
        prefect.environment["OPENAI_BASE_URL"], before = server.base_url, prefect.environment["OPENAI_BASE_URL"]
        try:
            run_id = prefect.python(GIVEN_ROWS).split()[-1]
        finally:
            prefect.environment["OPENAI_BASE_URL"] = before
        uploaded = [request for request in server.asked("POST", "/files") if HIDDEN in str(request)]
    assert len(uploaded) == 3
    told = {"event": {"name": ["prefect.flow-run.Completed"]}, "resource": {"id": [f"prefect.flow-run.{run_id}"]}}
    prefect.until(lambda: prefect.api("POST", "/events/filter", filter=told)["events"])
    assert prefect.flow_run(run_id)["parameters"]["training_data"].keys() == {"source", "rows", "sha256"}
    files = [path for path in prefect.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert [path for path in files if HIDDEN.encode() in path.read_bytes()] == []
