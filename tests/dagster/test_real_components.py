"""A real webserver, daemon and code server, killed and terminated at will: one job each time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import dagster as dg
import pytest
from support.dagster_runs import jobs_on
from support.datasets import write
from support.fault_server import FaultServer
from support.quick_service import QuickService
from support.real_dagster import Dagster
from support.service import running_service
from support.support_chats import chats

from tuneway.registry import open_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SHOP = Path(__file__).parent / "shop.py"
ASSETS = ("training_file", "job", "fine_tuned_model", "registered_model")
PARTITIONS = [f"customer-{number:02}" for number in range(20)]


@pytest.fixture(scope="module")
def server():
    """A service whose jobs end when a test says so."""
    with FaultServer(QuickService()) as server:
        server.service.ends = None
        yield server


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'models.db'}"


@pytest.fixture(scope="module")
def real():
    with running_service() as service:
        yield service


@pytest.fixture(scope="module")
def dagster(server, real, registry, tmp_path_factory):
    data = write(tmp_path_factory.mktemp("data") / "train.jsonl", chats(24, seed=5))
    environment = {
        "SHOP_DATA": str(data),
        "SHOP_SERVICE": server.base_url,
        "SHOP_REAL_SERVICE": real.base_url,
        "SHOP_REGISTRY": registry,
        "SHOP_FILE": str(data.with_name("noticed.jsonl")),
    }
    write(data.with_name("noticed.jsonl"), chats(24, seed=6))
    with Dagster.running(SHOP, **environment) as dagster:
        run = dagster.launch(key("lasting", "training_file"), key("ended", "training_file"))
        dagster.until_run(run, dg.DagsterRunStatus.SUCCESS)
        yield dagster


def key(group, name):
    return dg.AssetKey([group, name])


def waiting_run(dagster, group, **tags):
    """A run that has submitted its job, and waits for it."""
    run = dagster.launch(job=f"{group}_job", tags=tags)
    dagster.until(
        lambda: any(one.run_id == run for one in submitted(dagster, group)), what=lambda: dagster.messages(run)
    )
    return run


def submitted(dagster, group):
    return dagster.instance.fetch_materializations(key(group, "job"), limit=100).records


def step_worker(dagster, run, step):
    """The process that executes a step."""
    for record in dagster.events(run):
        event = record.event_log_entry.dagster_event
        if event and event.step_key == step and event.event_type_value == "STEP_WORKER_STARTED":
            return int(event.engine_event_data.metadata["pid"].value)
    return None


def test_what_comes_before_and_after_a_model_may_be_of_any_kind_and_checks_can_be_left_out(dagster, real):
    before = {name: len(jobs_on(real, name)) for name in ("last/job", "queried/job", "nightly/tune")}
    days = [dagster.launch(dg.AssetKey("tickets"), tags={"dagster/partition": day}) for day in ("monday", "tuesday")]
    ops = dagster.launch(job="nightly")
    queried = dagster.launch(*(key("queried", name) for name in ASSETS))
    for run in days:
        dagster.until_run(run, dg.DagsterRunStatus.SUCCESS)
    last = dagster.launch(*(key("last", name) for name in ASSETS), checks=False)
    for run in (ops, queried, last):
        dagster.until_run(run, dg.DagsterRunStatus.SUCCESS)

    assert {name: len(jobs_on(real, name)) - count for name, count in before.items()} == dict.fromkeys(before, 1)
    assert "uses by_op:1" in dagster.messages(ops)
    (file,) = dagster.made(key("last", "training_file"))
    assert file.metadata["rows"].value == 20
    assert dagster.made(key("last", "registered_model")), "the gate that would refuse it was left out"
    assert dagster.checked(key("last", "registered_model"), "train_loss_max_0") == []


def test_a_file_is_noticed_and_the_model_of_renamed_assets_is_used_by_the_next_one(dagster, server):
    (job,) = dagster.until(lambda: jobs_on(server, "ml/noticed/job"))
    server.service.train(job.id)
    (used,) = dagster.until(lambda: dagster.made(dg.AssetKey(["ml", "answers"])))

    assert used.metadata["ref"].value == "noticed:1"
    write(Path(dagster.environment["SHOP_FILE"]), chats(24, seed=7))  # what becomes of it shows in a test below


def test_a_terminated_run_leaves_its_job_and_a_re_execution_adopts_it(dagster, server):
    run = waiting_run(dagster, "lasting")
    dagster.terminate(run)
    dagster.until_run(run, dg.DagsterRunStatus.CANCELED)
    (job,) = jobs_on(server, "lasting/job")
    assert not job.done

    again = dagster.execute_again(run)
    dagster.until(lambda: any(one.run_id == again for one in submitted(dagster, "lasting")))
    server.service.train(job.id)
    dagster.until_run(again, dg.DagsterRunStatus.SUCCESS)

    assert len(jobs_on(server, "lasting/job")) == 1
    assert dagster.made(key("lasting", "fine_tuned_model"))


def test_a_terminated_run_cancels_its_job_when_it_is_to(dagster, server):
    run = waiting_run(dagster, "ended")

    dagster.terminate(run)
    dagster.until_run(run, dg.DagsterRunStatus.CANCELED)

    dagster.until(lambda: [job.status for job in jobs_on(server, "ended/job")] == ["cancelled"])


def test_a_worker_that_is_told_to_go_leaves_the_job_though_termination_would_cancel_it(dagster, server):
    before = len(jobs_on(server, "ended/job"))
    run = waiting_run(dagster, "ended")

    os.kill(step_worker(dagster, run, "ended__train"), signal.SIGTERM)  # as an eviction does
    dagster.until_run(run, dg.DagsterRunStatus.FAILURE)

    job = jobs_on(server, "ended/job")[before]
    assert not job.done
    server.service.train(job.id)


def test_a_killed_step_worker_is_replaced_by_a_run_that_adopts_its_job(dagster, server):
    before = len(jobs_on(server, "lasting/job"))
    run = waiting_run(dagster, "lasting", **{"dagster/max_retries": "1"})

    os.kill(step_worker(dagster, run, "lasting__train"), signal.SIGKILL)
    dagster.until_run(run, dg.DagsterRunStatus.FAILURE)
    again = dagster.until(lambda: retry_of(dagster, run))
    dagster.until(lambda: any(one.run_id == again for one in submitted(dagster, "lasting")))
    (job,) = jobs_on(server, "lasting/job")[before:]
    server.service.train(job.id)
    dagster.until_run(again, dg.DagsterRunStatus.SUCCESS)

    assert len(jobs_on(server, "lasting/job")) == before + 1


def retry_of(dagster, run):
    filters = dg.RunsFilter(tags={"dagster/parent_run_id": run})
    return next((one.run_id for one in dagster.instance.get_runs(filters)), None)


def test_a_backfill_of_twenty_partitions_makes_twenty_jobs_and_never_more_at_once_than_the_pool(dagster, real):
    keys = [key("customers", name) for name in ASSETS]
    backfill = dagster.backfill(keys, PARTITIONS)
    dagster.until(lambda: len(dagster.made(keys[1])) >= 3, seconds=300)

    dagster.kill("daemon")  # in the middle of it
    dagster.start("daemon")
    dagster.until(lambda: dagster.instance.get_backfill(backfill).status.value == "COMPLETED_SUCCESS", seconds=1200)

    jobs = jobs_on(real, "customers/job")
    assert sorted(job.metadata["tuneway_origin"].split("[")[1].split("]")[0] for job in jobs) == PARTITIONS
    assert {job.status for job in jobs} == {"succeeded"}
    assert len({one.partition for one in dagster.made(keys[3])}) == 20
    assert most_at_once(dagster, "customers__train") <= 2


def most_at_once(dagster, step):
    """How many runs were in this step at the same time."""
    moments = []
    for run in dagster.instance.get_runs():
        for record in dagster.events(run.run_id):
            event = record.event_log_entry.dagster_event
            if event and event.step_key == step and event.event_type_value in ("STEP_START", "STEP_SUCCESS"):
                moments.append((record.event_log_entry.timestamp, 1 if event.event_type_value == "STEP_START" else -1))
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def test_a_file_that_has_changed_has_trained_its_model_again(dagster, server):
    dagster.until(lambda: len(jobs_on(server, "ml/noticed/job")) > 1)
    server.service.train(jobs_on(server, "ml/noticed/job")[-1].id)
    dagster.until(lambda: len(dagster.made(dg.AssetKey(["ml", "answers"]))) > 1)

    assert len(jobs_on(server, "ml/noticed/job")) == 2
    used = [one.metadata["ref"].value for one in dagster.made(dg.AssetKey(["ml", "answers"]))]
    assert sorted(used) == ["noticed:1", "noticed:2"]
    file = dg.AssetKey(["ml", "noticed", "training_data"])
    seen = dagster.instance.fetch_observations(file, limit=100).records
    assert len({one.asset_observation.tags["dagster/data_version"] for one in seen}) == 2


def test_the_sensor_reports_once_wherever_its_daemon_is_killed(dagster, server, registry):
    watched = PARTITIONS[:4]
    dagster.kill("daemon")  # nobody looks while these are submitted
    jobs = {}
    for partition in watched:
        run = dagster.launch(
            key("watched", "training_file"), key("watched", "job"), tags={"dagster/partition": partition}
        )
        jobs[partition] = run
    dagster.start("daemon")  # it is the daemon that takes runs from the queue
    for run in jobs.values():
        dagster.until_run(run, dg.DagsterRunStatus.SUCCESS)
    dagster.until(lambda: len(opened(dagster) or []) == 4)

    for number, job in enumerate(jobs_on(server, "watched/job")):
        server.service.train(job.id, "failed" if number == 3 else "succeeded")
        time.sleep(1.7 * number)  # each time at another point of its round
        dagster.kill("daemon")
        dagster.start("daemon")
    dagster.until(
        lambda: opened(dagster) == [] and len(dagster.checked(key("watched", "fine_tuned_model"), "trained")) >= 4
    )
    dagster.until(lambda: len(dagster.made(key("watched", "registered_model"))) >= 3, seconds=300)
    before = rounds(dagster)
    dagster.until(lambda: rounds(dagster) >= before + 2)  # a whole one since, in which nothing may be told again

    made = [one.partition for one in dagster.made(key("watched", "fine_tuned_model"))]
    assert len(made) == len(set(made)) == 3
    results = dagster.checked(key("watched", "fine_tuned_model"), "trained")
    assert sorted(check.metadata["partition"].value for check in results) == watched
    assert sorted(check.passed for check in results) == [False, True, True, True]
    registered = [one.partition for one in dagster.made(key("watched", "registered_model"))]
    assert sorted(registered) == sorted(made)
    assert {check.passed for check in dagster.checked(key("watched", "registered_model"), "train_loss_max_9")} == {True}
    assert len(open_registry(registry).models()) >= 3


def watcher(dagster):
    """What Dagster knows of the sensor; None before its first round."""
    states = dagster.instance.all_instigator_state()
    return next((one for one in states if one.instigator_name == "fine_tuning_jobs"), None)


def rounds(dagster):
    """How many of the sensor's rounds have ended well."""
    sensor = watcher(dagster)
    ticks = dagster.instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id)
    return sum(tick.status.value in {"SKIPPED", "SUCCESS"} for tick in ticks)


def opened(dagster):
    """The jobs that the sensor watches, by its cursor."""
    sensor = watcher(dagster)
    cursor = sensor.instigator_data.cursor if sensor and sensor.instigator_data else None
    return json.loads(cursor).get("open", []) if cursor else None
