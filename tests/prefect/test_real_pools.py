"""A real Prefect server: workers without a shared disk, limits, and what a registered model starts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.quick_service import serving_jobs_that_go_on
from support.real_prefect import POOL, Name, Prefect
from support.support_chats import chats

from tuneway.registry import open_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a wait that is too long fails before, and shows the logs

FLOWS = Path(__file__).parent.parent / "support" / "prefect_flows.py"

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "prefect.md"


@pytest.fixture(scope="module")
def service():
    with serving_jobs_that_go_on() as server:
        yield server


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/models.db"


@pytest.fixture(scope="module")
def prefect(service, registry):
    with Prefect.running(FLOWS, OPENAI_BASE_URL=service.base_url, TUNEWAY_REGISTRY_URI=registry) as prefect:
        yield prefect


@pytest.fixture(scope="module")
def homes(prefect):
    """The homes of two workers, each of which has a queue of its own and data that the other hasn't."""
    homes = [prefect.start_worker_elsewhere(name) for name in ("one", "two")]
    prefect.until(lambda: online(prefect) == 2)
    return homes


def online(prefect):
    return sum(one["status"] == "ONLINE" for one in prefect.api("POST", f"/work_pools/{POOL}/workers/filter"))


@pytest.fixture(scope="module")
def deployments(prefect, homes):
    queues = {"begin": "one", "finish": "two", "nightly": "one", "without_a_worker": "one", "limited": "one"}
    limits = {"nightly": {"concurrency_limit": 1}, "without_a_worker": {"concurrency_limit": 1}}
    return {
        name: prefect.deploy(f"flows.py:{name}", work_queue_name=queue, **limits.get(name, {}))
        for name, queue in queues.items()
    }


@pytest.fixture(scope="module")
def limit(prefect):
    """A global limit: one at a time."""
    prefect.api("POST", "/v2/concurrency_limits/", name="trainings", limit=1)


@pytest.fixture
def data(homes):
    """Writes data into the first worker's home; gives its path as that worker knows it."""

    def write():
        number = len(list(homes[0].glob("*.jsonl")))
        lines = map(json.dumps, chats(24, seed=number + 1))
        (homes[0] / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
        return f"~/{number}.jsonl"

    return write


@pytest.fixture
def created(service, prefect):
    """Waits until there are as many new jobs; gives their ids."""
    before = len(service.service.jobs)

    def wait(count):
        prefect.until(lambda: len(service.service.jobs) >= before + count)
        return [job["id"] for job in service.service.jobs[before:]]

    return wait


def test_the_steps_of_one_training_run_on_workers_that_share_no_disk(
    prefect, service, registry, homes, deployments, data, created
):
    prefect.trigger(deployments["begin"], path=data(), name="apart")
    (job_id,) = created(1)
    prefect.until(lambda: len(prefect.runs_of(deployments["finish"])) == 1)
    (run,) = prefect.runs_of(deployments["finish"])
    service.service.train(job_id)
    prefect.until_state(run["id"], "Completed")
    record = open_registry(registry).get("apart:1").record
    assert (record.job_id, record.training.rows) == (job_id, 24)
    assert "of this worker alone" not in prefect.logs(run["id"])
    assert created(1) == [job_id]
    assert not list(homes[1].glob("*.jsonl"))


def test_a_registry_in_the_home_of_one_worker_is_warned_of(prefect, service, homes, deployments):
    job = service.service.add_job()
    service.service.train(job["id"])
    run_id = prefect.trigger(deployments["finish"], job={"job_id": job["id"]}, name="own", registry="sqlite:///own.db")
    prefect.until_state(run_id, "Completed")
    prefect.until(lambda: "sqlite:///own.db is a file of this worker alone" in prefect.logs(run_id))


def test_a_model_that_is_registered_starts_a_deployment(prefect, service, homes, deployments):
    (trigger,) = re.findall(r"^registered = .*?^\)$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    started = prefect.deploy(
        "flows.py:use",
        work_queue_name="two",
        before=f"from prefect.events import *\nfrom prefect_tuneway import model_asset\n{trigger}",
        triggers=Name("[registered]"),
    )
    for name in ("another", "ticket-router"):
        job = service.service.add_job()
        service.service.train(job["id"])
        run_id = prefect.trigger(deployments["finish"], job={"job_id": job["id"]}, name=name)
        prefect.until_state(run_id, "Completed")
    prefect.until(lambda: prefect.runs_of(started))
    (run,) = prefect.runs_of(started)
    assert run["parameters"] == {
        "ref": "ticket-router:1",
        "model_id": service.service.job(job["id"])["fine_tuned_model"],
    }
    prefect.until_state(run["id"], "Completed")


def test_a_run_that_waits_holds_the_slot_of_its_deployment(prefect, service, deployments, data, created):
    runs = [prefect.trigger(deployments["nightly"], path=data()) for _ in range(2)]
    (first,) = created(1)
    prefect.until(lambda: "AwaitingConcurrencySlot" in [prefect.state(run_id) for run_id in runs])
    assert created(1) == [first]
    service.service.train(first)
    _, second = created(2)
    service.service.train(second)
    for run_id in runs:
        prefect.until_state(run_id, "Completed")


def test_a_suspended_run_holds_no_slot_of_its_deployment(prefect, service, deployments, data, created):
    runs = [prefect.trigger(deployments["without_a_worker"], path=data()) for _ in range(2)]
    for job_id in created(2):  # while the first trains
        service.service.train(job_id)
    for run_id in runs:
        prefect.until(lambda run_id=run_id: prefect.state(run_id) in {"Suspended", "Completed"})


def test_a_run_that_waits_holds_the_slot_of_its_queue(prefect, service, deployments):
    prefect.api("PATCH", f"/work_pools/{POOL}/queues/two", concurrency_limit=1)
    jobs = [service.service.add_job(status="running")["id"] for _ in range(2)]
    runs = [prefect.trigger(deployments["finish"], job={"job_id": job_id}, name="queued") for job_id in jobs]
    prefect.until(lambda: sorted(map(prefect.state, runs)) == ["Late", "Running"])
    for job_id in jobs:
        service.service.train(job_id)
    for run_id in runs:
        prefect.until_state(run_id, "Completed")


@pytest.mark.parametrize("suspended", [False, True], ids=["waits", "is suspended"])
def test_a_run_holds_the_slot_of_a_global_limit_while_it_waits_and_not_while_it_is_suspended(
    prefect, service, deployments, limit, data, created, suspended
):
    first_run = prefect.trigger(deployments["limited"], path=data(), suspended=suspended)
    (first,) = created(1)
    if suspended:
        prefect.until_state(first_run, "Suspended")
    second_run = prefect.trigger(deployments["limited"], path=data(), suspended=suspended)
    prefect.until(lambda: "asks for a slot" in prefect.logs(second_run))
    held = prefect.api("GET", "/v2/concurrency_limits/trainings")["active_slots"]
    if not suspended:
        assert (held, created(1)) == (1, [first])
        service.service.train(first)
    second = created(2)[-1]
    for job_id in {first, second}:
        service.service.train(job_id)
    prefect.until_state(second_run, "Completed", "Suspended")


def test_a_run_that_a_person_suspends_leaves_its_worker_at_once_and_adopts_its_job_when_it_goes_on(
    prefect, service, deployments, data, created
):
    run_id = prefect.trigger(deployments["nightly"], path=data(), name="suspended")
    (job_id,) = created(1)
    prefect.until(lambda: service.asked("GET", f"/fine_tuning/jobs/{job_id}"))
    prefect.suspend(run_id)
    prefect.until_gone(run_id)
    assert service.service.job(job_id)["status"] == "validating_files"
    assert prefect.state(run_id) == "Suspended"
    service.service.train(job_id)
    prefect.api("POST", f"/flow_runs/{run_id}/resume")
    prefect.until_state(run_id, "Completed")
    assert created(1) == [job_id]
