"""The sensor means the same however it waits: on a worker, rescheduled, or in the triggerer."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from support.any_airflow import AirflowRescheduleException, TaskDeferred

from airflow_tuneway._compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from airflow_tuneway.sensors import FineTuningJobSensor
from tuneway import AsyncClient, Client, InvalidSpec, JobSpec
from tuneway.errors import ConnectionLost

pytestmark = pytest.mark.usefixtures("supervisor")

WAYS = [{"mode": "poke"}, {"mode": "reschedule"}, {"deferrable": True}]
QUICK = {"timeout": 0.3, "poke_interval": 0.1, "poll": {"minimum": 0.05, "maximum": 0.05}}


@pytest.fixture(params=WAYS, ids=["poke", "reschedule", "deferrable"])
def way(request):
    return request.param


def end_of(job_id, **arguments):
    """What becomes of a sensor's task, as Airflow runs it: rescheduled as often as it asks, or deferred."""
    sensor = FineTuningJobSensor(task_id="sense", job=job_id, **QUICK | arguments)
    began = datetime.now(UTC)
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="sense", map_index=-1, xcom_push=lambda key, value: None, try_number=1
    )
    ti.get_first_reschedule_date = lambda context: began
    context = {"ti": ti}

    def go_on(step, *more):
        while True:
            try:
                return step(*more, context)
            except AirflowRescheduleException:
                continue
            except TaskDeferred as deferred:
                deferred.trigger.task_instance = ti
                event = json.loads(json.dumps(asyncio.run(anext(deferred.trigger.run())).payload))
                kwargs = (deferred.kwargs or {}) | {"event": event}
                step, more = sensor.resume_execution, (deferred.method_name, kwargs)

    try:
        return go_on(sensor.execute)["status"]
    except AirflowSkipException:
        return "skipped"
    except (AirflowFailException, AirflowSensorTimeout):
        return "failed for good"
    except Exception:  # noqa: BLE001 - Airflow retries after any other
        return "retried"


@pytest.fixture
def job(stuck, data):
    """A job that never ends by itself."""
    with Client(base_url=stuck.base_url) as client:
        yield client.jobs.create(JobSpec(model="gpt-4o-mini", training_file=client.upload(data).id))


@pytest.fixture
def cancelled(stuck, job):
    with Client(base_url=stuck.base_url) as client:
        return client.cancel(job.id)


@pytest.mark.parametrize(("soft_fail", "end"), [(False, "failed for good"), (True, "skipped")])
def test_a_job_that_failed_fails_the_task_for_good_or_skips_it(cancelled, way, soft_fail, end):
    assert end_of(cancelled.id, soft_fail=soft_fail, **way) == end


@pytest.mark.parametrize(("soft_fail", "end"), [(False, "failed for good"), (True, "skipped")])
def test_a_job_that_fails_while_it_is_waited_for_fails_the_task_for_good_or_skips_it(
    stuck, job, way, soft_fail, end, monkeypatch
):
    poke, looks = FineTuningJobSensor.poke, []

    def then_cancelled(self, context):
        look = poke(self, context)
        if not looks:
            with Client(base_url=stuck.base_url) as client:
                client.cancel(job.id)
        looks.append(look)
        return look

    monkeypatch.setattr(FineTuningJobSensor, "poke", then_cancelled)

    assert end_of(job.id, soft_fail=soft_fail, timeout=30, **way) == end


@pytest.mark.parametrize(("soft_fail", "end"), [(False, "failed for good"), (True, "skipped")])
def test_a_time_out_fails_the_task_for_good_or_skips_it(job, way, soft_fail, end):
    assert end_of(job.id, soft_fail=soft_fail, **way) == end


def test_never_fail_skips_after_a_failed_job(cancelled, way):
    assert end_of(cancelled.id, never_fail=True, **way) == "skipped"


@pytest.mark.parametrize(
    ("arguments", "end"),
    [({"soft_fail": True}, "retried"), ({"never_fail": True}, "skipped"), ({"silent_fail": True}, "failed for good")],
)
def test_an_error_that_says_nothing_of_the_job_is_not_the_jobs_failure(job, way, arguments, end, monkeypatch):
    def lost(*_, **__):
        raise ConnectionLost("the service is away")

    monkeypatch.setattr(Client, "wait", lost)
    monkeypatch.setattr(AsyncClient, "wait", lost)

    assert end_of(job.id, **arguments, **way) == end


def test_a_wrong_schedule_is_refused_when_the_dag_is_parsed():
    with pytest.raises(InvalidSpec, match="poll"):
        FineTuningJobSensor(task_id="sense", job="ftjob-1", poll={"least": 1})
