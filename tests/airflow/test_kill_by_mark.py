"""A kill on a service whose jobs don't show who asked for them."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from support.any_airflow import TaskDeferred
from support.short_marks import MODEL, SERVICE, TRAINING, lose_the_create, rows_for_together, serving, statuses

from airflow_tuneway._compat import AirflowFailException
from airflow_tuneway.operators import (
    CreateFineTuningJobOperator,
    FineTuneOperator,
    WaitForFineTuningJobOperator,
)
from airflow_tuneway.triggers import FineTuningJobTrigger
from tuneway.progress import JobChanged, JobCreated, News, Settling


@pytest.fixture
def together(monkeypatch):
    with serving() as server:
        connection = {"conn_type": "tuneway", "host": server.base_url, "extra": SERVICE}
        monkeypatch.setenv("AIRFLOW_CONN_TUNEWAY_DEFAULT", json.dumps(connection))
        yield server


@pytest.fixture
def ti(supervisor):
    """A task instance of a run that a person ends; what it pushes can be pulled."""
    supervisor.state = "failed"
    kept: dict[str, object] = {}
    return SimpleNamespace(
        dag_id="d", run_id="run", task_id="tune", map_index=-1, max_tries=0, try_number=1,
        xcom_push=lambda key, value: kept.update({key: value}),
        xcom_pull=lambda key="return_value", **_: kept.get(key),
    )  # fmt: skip


def killed(operator, at):
    """This operator, but Airflow tells it to stop at this piece of news."""

    class Killed(operator):
        def tell(self, news: News):
            if isinstance(news, at):
                self.on_kill()
            super().tell(news)

    return Killed


@pytest.mark.parametrize("at", [JobCreated, Settling])
def test_a_task_that_is_ended_while_it_submits_takes_its_job_along_and_no_other(together, ti, at):
    together.service.add_job(suffix="router-0123456789abcdef")
    create = killed(CreateFineTuningJobOperator, at)(task_id="tune", **TRAINING)
    with pytest.raises(AirflowFailException, match="The task was ended"):
        create.execute({"ti": ti})
    assert statuses(together) == ["pending", "cancelled"]


def test_a_task_that_is_ended_while_it_waits_takes_its_job_along(together, ti, tmp_path):
    tune = killed(FineTuneOperator, JobChanged)(
        task_id="tune", training_data=str(rows_for_together(tmp_path / "train.jsonl")), model=MODEL, deferrable=False
    )
    with pytest.raises(AirflowFailException, match="The task was ended"):
        tune.execute({"ti": ti})
    assert statuses(together) == ["cancelled"]


def test_a_later_try_knows_that_the_task_has_made_the_job(together, ti):
    lose_the_create(together)
    create = CreateFineTuningJobOperator(task_id="tune", **TRAINING)
    with pytest.raises(Exception, match="which jobs exist"):
        create.execute({"ti": ti})
    again = killed(CreateFineTuningJobOperator, Settling)(task_id="tune", **TRAINING)
    with pytest.raises(AirflowFailException, match="The task was ended"):
        again.execute({"ti": ti})
    assert statuses(together) == ["cancelled"]


@pytest.mark.parametrize("deferrable", [True, False], ids=["in the triggerer", "on the worker"])
@pytest.mark.parametrize(("run_id", "status"), [("run", "cancelled"), ("another", "pending")])
def test_a_step_that_only_waits_knows_by_its_input_whose_job_it_is(together, ti, deferrable, run_id, status):
    ti.run_id = run_id
    job = json.loads(json.dumps(CreateFineTuningJobOperator(task_id="tune", **TRAINING).execute({"ti": ti})))
    ti.run_id, ti.task_id = "run", "wait"
    wait = killed(WaitForFineTuningJobOperator, JobChanged)(task_id="wait", job=job, deferrable=deferrable)
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            wait.execute({"ti": ti})
        _, stored = deferred.value.trigger.serialize()
        trigger = FineTuningJobTrigger(**json.loads(json.dumps(stored)))
        trigger.task_instance = ti
        asyncio.run(trigger.on_kill())
    else:
        with pytest.raises(AirflowFailException, match="The task was ended"):
            wait.execute({"ti": ti})
    assert statuses(together) == [status]


@pytest.mark.parametrize(("max_usd", "jobs"), [(1e-9, 0), (1000.0, 1)])
def test_a_budget_is_held_against_the_services_own_price(together, ti, tmp_path, max_usd, jobs):
    tune = FineTuneOperator(
        task_id="tune",
        training_data=str(rows_for_together(tmp_path / "train.jsonl")),
        model=MODEL,
        max_usd=max_usd,
        wait_for_completion=False,
    )
    with nullcontext() if jobs else pytest.raises(AirflowFailException, match="together estimates"):
        tune.execute({"ti": ti})
    assert len(statuses(together)) == jobs
