"""The trigger, in a loop that nothing may block, as a triggerer would run it."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from blockbuster import blockbuster_ctx

from airflow_tuneway import triggers
from airflow_tuneway._clients import lease
from airflow_tuneway.operators import WaitForFineTuningJobOperator
from airflow_tuneway.triggers import FineTuningJobTrigger
from tuneway import Client, JobSpec, Requester, Supervised, WaitToken
from tuneway.progress import Summarised

pytestmark = pytest.mark.usefixtures("supervisor")

MAKER = {"engine": "airflow", "pipeline": "dag", "run": "run", "step": "wait"}
LONG = {"engine": "airflow", "pipeline": "d" * 245, "run": "r" * 245}


class Log:
    """A task's log, as a list."""

    def __init__(self):
        self.lines = []
        self.written = asyncio.Event()

    def info(self, text, *values):
        self.lines.append(text % values)
        self.written.set()

    def exception(self, text, *values):
        raise AssertionError(text % values)


def deferred(job_id, *, deadline=None, **arguments):
    """A trigger as a triggerer has it: stored, loaded, and told which task it is for."""
    token = {"v": 1, "job_id": job_id, "deadline": deadline}
    path, stored = FineTuningJobTrigger(token=token, **{"maker": MAKER} | arguments).serialize()
    assert path == "airflow_tuneway.triggers.FineTuningJobTrigger"
    trigger = FineTuningJobTrigger(**json.loads(json.dumps(stored)))
    trigger.task_instance = SimpleNamespace(dag_id="dag", run_id="run", task_id="wait", map_index=-1)
    trigger._log = Log()
    return trigger


async def outcome(trigger):
    return (await anext(trigger.run())).payload


def in_a_loop_that_nothing_blocks(coroutine):
    async def main():
        with blockbuster_ctx():
            return await coroutine

    return asyncio.run(main())


def made(service, data, by=MAKER, **more):
    with Client(base_url=service.base_url, settle=0.2) as client:
        spec = JobSpec(model="gpt-4o-mini", training_file=client.upload(data), method=Supervised(n_epochs=1), **more)
        return client.submit(spec, requester=Requester(**by)).id


def status_of(service, job_id):
    with Client(base_url=service.base_url) as client:
        return client.jobs.retrieve(job_id).status


def test_the_end_of_the_job_is_the_events_payload(service, data):
    job_id = made(service, data)

    event = in_a_loop_that_nothing_blocks(outcome(deferred(job_id)))

    assert event["error"] is None
    assert event["job"]["status"] == "succeeded"
    assert event["job"]["fine_tuned_model"]


def test_what_is_stored_holds_no_secret(stuck, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", json.dumps({"conn_type": "tuneway", "password": "sk-very-secret"}))

    trigger = FineTuningJobTrigger(token={"v": 1, "job_id": "ftjob-1"}, conn_id="secret", maker=MAKER)

    assert trigger.serialize()[1] == {
        "token": {"v": 1, "job_id": "ftjob-1"},
        "conn_id": "secret",
        "poll": None,
        "cancel_on_kill": True,
        "maker": MAKER,
    }


def test_a_log_that_was_told_in_part_goes_on_from_there_in_another_triggerer(service, data, supervisor, monkeypatch):
    monkeypatch.setitem(Summarised.__init__.__kwdefaults__, "seconds", 0)  # each step is told
    job_id = made(service, data)
    first = deferred(job_id)
    in_a_loop_that_nothing_blocks(outcome(first))
    logged = [line for line in first.log.lines if "Step" in line]
    with Client(base_url=service.base_url) as client:
        events = list(client.jobs.events(job_id, limit=100))[::-1]
    third = next(place for place, event in enumerate(events) if "Step 3/" in (event.message or ""))
    note = WaitToken(job_id=job_id, last_event=events[third].id, last_event_at=events[third].created_at)
    supervisor.xcoms["tuneway_told"] = note.dump()

    second = deferred(job_id)
    in_a_loop_that_nothing_blocks(outcome(second))

    again = [line for line in second.log.lines if "Step" in line]
    assert len(logged) > 3
    assert again == logged[3:]


def test_the_last_step_is_in_the_event_and_the_task_repeats_it_with_the_outcome(service, data, monkeypatch):
    job_id = made(service, data)
    event = json.loads(json.dumps(in_a_loop_that_nothing_blocks(outcome(deferred(job_id)))))
    wait = WaitForFineTuningJobOperator(task_id="wait", job=job_id)
    log = Log()
    monkeypatch.setattr(WaitForFineTuningJobOperator, "log", log, raising=False)

    wait.execute_complete({"ti": None}, event)

    steps, end = log.lines
    assert steps.startswith(f"{job_id}: Step ")
    assert "loss" in steps
    assert end == f"{job_id}: succeeded, {event['job']['fine_tuned_model']}"


def test_how_far_the_log_was_told_is_noted_before_the_end(service, data, supervisor):
    job_id = made(service, data)

    in_a_loop_that_nothing_blocks(outcome(deferred(job_id)))

    with Client(base_url=service.base_url) as client:
        newest = next(iter(client.jobs.events(job_id)))
    assert WaitToken.load(supervisor.xcoms["tuneway_told"]).last_event == newest.id


def test_another_triggerer_keeps_the_deadline(stuck, data, supervisor):
    job_id = made(stuck, data, seed=1004)
    supervisor.xcoms["tuneway_told"] = WaitToken(job_id=job_id, deadline=time.time() + 3600).dump()
    trigger = deferred(job_id, deadline=time.time() + 0.2)

    event = in_a_loop_that_nothing_blocks(outcome(trigger))

    assert event["error"]["kind"] == "WaitTimeout"


def test_each_task_hears_of_its_own_job_though_they_share_a_poll(service, tmp_path, data):
    jobs = [made(service, data, seed=seed) for seed in range(3)]
    waits = [deferred(job_id) for job_id in jobs]

    async def all_at_once():
        return await asyncio.gather(*map(outcome, waits))

    in_a_loop_that_nothing_blocks(all_at_once())

    for job_id, trigger in zip(jobs, waits, strict=True):
        assert trigger.log.lines
        assert all(line.startswith(job_id) for line in trigger.log.lines)


def test_waits_with_the_same_connection_share_a_client_and_the_last_closes_it(stuck):
    async def three():
        async with lease("tuneway_default") as first, lease("tuneway_default") as second:
            same = first is second
        async with lease("tuneway_default") as third:
            return same, third is first, first._http.is_closed

    assert in_a_loop_that_nothing_blocks(three()) == (True, False, True)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("failed", "cancelled"),
        ("success", "cancelled"),
        ("skipped", "cancelled"),
        ("removed", "cancelled"),
        ("deferred", "validating_files"),  # moved to another triggerer
        ("scheduled", "validating_files"),  # cleared: the next try adopts it
        ("queued", "validating_files"),
        ("running", "validating_files"),
        ("up_for_retry", "validating_files"),
        (None, "validating_files"),
    ],
)
def test_only_a_task_that_is_over_takes_its_job_along(stuck, data, supervisor, state, status):
    job_id = made(stuck, data, seed=hash(state) % 1000)
    supervisor.state = state

    in_a_loop_that_nothing_blocks(deferred(job_id).on_kill())

    assert status_of(stuck, job_id) == status


@pytest.mark.parametrize(("maker", "counts"), [(MAKER, 1), (MAKER | {"run": "other"}, 0)])
def test_a_job_that_a_kill_cancels_is_counted(stuck, data, supervisor, heard, maker, counts):
    job_id = made(stuck, data, seed=1002)
    supervisor.state = "failed"

    in_a_loop_that_nothing_blocks(deferred(job_id, maker=maker).on_kill())

    assert heard.counts == ({"tuneway.job.cancelled": counts} if counts else {})
    assert heard.tags == ({"tuneway.job.cancelled": {"dag_id": "dag", "task_id": "wait"}} if counts else {})


def test_a_job_lives_on_after_a_kill_if_so_configured(stuck, data, supervisor):
    job_id = made(stuck, data, seed=1001)
    supervisor.state = "failed"

    in_a_loop_that_nothing_blocks(deferred(job_id, cancel_on_kill=False).on_kill())

    assert status_of(stuck, job_id) == "validating_files"


@pytest.mark.parametrize(
    ("by", "maker", "status"),
    [
        (MAKER, MAKER, "cancelled"),
        (MAKER | {"pipeline": "other"}, MAKER, "validating_files"),  # adopted with reuse="content"
        (MAKER | {"step": "other"}, MAKER, "validating_files"),
        (MAKER | {"deployment": "staging"}, MAKER, "validating_files"),
        # a step that only waits: any task of its run may have made the job
        (MAKER | {"step": "create"}, {"engine": "airflow", "pipeline": "dag", "run": "run"}, "cancelled"),
        (LONG | {"step": "create_it"}, LONG, "cancelled"),
        (LONG | {"step": "create_it"}, LONG | {"run": "other"}, "validating_files"),
        (MAKER | {"run": "other"}, {"engine": "airflow", "pipeline": "dag", "run": "run"}, "validating_files"),
        (MAKER | {"run": "run-2"}, {"engine": "airflow", "pipeline": "dag", "run": "run"}, "validating_files"),
    ],
)
def test_a_kill_cancels_only_what_the_task_has_made(stuck, data, supervisor, by, maker, status):
    job_id = made(stuck, data, by)
    supervisor.state = "failed"

    in_a_loop_that_nothing_blocks(deferred(job_id, maker=maker).on_kill())

    assert status_of(stuck, job_id) == status


@pytest.mark.parametrize(("run", "status"), [("run", "cancelled"), ("other", "validating_files")])
def test_a_trigger_that_an_earlier_version_stored_can_be_loaded_and_killed(stuck, data, supervisor, run, status):
    origin = f"airflow: dag / {run} / wait[3]"  # as earlier versions named a mapped task
    job_id = made(stuck, data, MAKER | {"mark": origin})
    stored = {"token": {"v": 1, "job_id": job_id}, "conn_id": "tuneway_default", "poll": None, "cancel_on_kill": True}
    trigger = FineTuningJobTrigger(**stored)
    trigger.task_instance = SimpleNamespace(dag_id="dag", run_id="run", task_id="wait", map_index=3)
    supervisor.state = "failed"

    in_a_loop_that_nothing_blocks(trigger.on_kill())

    assert status_of(stuck, job_id) == status


def test_all_that_a_trigger_asks_airflow_is_asked_on_the_triggerers_loop(stuck, data, supervisor, monkeypatch):
    job_id, loops, ask = made(stuck, data), set(), supervisor.send
    supervisor.state = "failed"

    async def asking():
        return asyncio.get_running_loop()

    def send(message):  # as a triggerer before Airflow 3.3 does it
        loops.add(async_to_sync(asking)())
        return ask(message)

    monkeypatch.setattr(supervisor, "send", send)

    async def asks():
        await outcome(deferred(job_id, deadline=time.time()))
        await deferred(job_id).on_kill()
        return asyncio.get_running_loop()

    own = in_a_loop_that_nothing_blocks(asks())

    assert loops == {own}


def test_a_triggerer_that_stops_leaves_the_job_alone(stuck, data):
    job_id = made(stuck, data, seed=1002)

    async def stopped():
        waiting = asyncio.create_task(outcome(deferred(job_id)))
        await asyncio.sleep(0.3)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return waiting.cancelled()

    assert in_a_loop_that_nothing_blocks(stopped())
    assert status_of(stuck, job_id) == "validating_files"


@pytest.mark.parametrize(
    ("state", "status"), [("failed", "cancelled"), ("success", "cancelled"), ("deferred", "validating_files")]
)
def test_a_trigger_that_is_cancelled_by_an_airflow_without_on_kill_looks_why(
    stuck, data, supervisor, monkeypatch, state, status
):
    monkeypatch.setattr(triggers, "TOLD_OF_KILLS", False)
    job_id = made(stuck, data)
    supervisor.state = state

    async def stopped():
        trigger = deferred(job_id)
        waiting = asyncio.create_task(outcome(trigger))
        await trigger.log.written.wait()  # it waits
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return waiting.cancelled()

    assert in_a_loop_that_nothing_blocks(stopped())
    assert status_of(stuck, job_id) == status


def test_a_job_that_failed_is_told_with_the_services_reason(stuck, data):
    job_id = made(stuck, data, seed=1003)
    with Client(base_url=stuck.base_url) as client:
        client.cancel(job_id)

    event = in_a_loop_that_nothing_blocks(outcome(deferred(job_id)))

    assert event["error"]["kind"] == "JobCancelled"
    assert event["error"]["retryable"] is False
    assert job_id in event["error"]["message"]
