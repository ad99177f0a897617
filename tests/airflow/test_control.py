"""Steps on a job that is there already: pause it, let it go on; and on a model: delete it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import DAG
from support.openai_jobs import openai_for, slow_job, wait_for

from airflow_tuneway.operators import (
    DeleteFineTunedModelOperator,
    FineTuneOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
    WaitForFineTuningJobOperator,
)
from tuneway import Client
from tuneway.errors import NotFound


@pytest.fixture
def running(service):
    """A job that can't end by itself while a test lasts."""
    with openai_for(service) as client:
        job = slow_job(client, rows=2000)
        yield wait_for(client, job.id, "running").id
        client.fine_tuning.jobs.cancel(job.id)


@pytest.mark.slow
def test_a_job_rests_between_the_step_that_pauses_it_and_the_one_that_lets_it_go_on(run, service, running):
    with DAG("rests", schedule=None) as pausing:
        PauseFineTuningJobOperator(task_id="pause", job=running)
    with DAG("goes_on", schedule=None) as resuming:
        ResumeFineTuningJobOperator(task_id="resume", job={"job_id": running})

    state, told = run(pausing)
    with openai_for(service) as client:
        assert wait_for(client, running, "paused").status == "paused"
    assert (state, told["pause", "job_id"]) == ("success", running)
    assert told["pause", "return_value"]["status"] in {"pausing", "paused"}

    state, told = run(resuming)
    with openai_for(service) as client:
        assert wait_for(client, running, "running").status == "running"
    assert state == "success"
    assert told["resume", "return_value"]["status"] in {"queued", "running"}


@pytest.mark.parametrize("operator", [PauseFineTuningJobOperator, ResumeFineTuningJobOperator])
def test_what_a_job_refuses_fails_the_task_at_once(run, stuck, data, tries, operator):
    with openai_for(stuck) as client:
        job = slow_job(client, rows=10)
        client.fine_tuning.jobs.cancel(job.id)
    with DAG(f"refused_{operator.__name__}", schedule=None) as dag:
        operator(task_id="act", job=job.id, retries=3, retry_delay=timedelta(0))

    assert run(dag)[0] == "failed"

    assert tries(dag.dag_id) == {"act": 1}


def test_a_model_can_be_deleted_by_a_step_and_deleted_again(run, service, data):
    with DAG("made_and_deleted", schedule=None) as dag:
        method = {"type": "supervised", "n_epochs": 1}
        tune = FineTuneOperator(
            task_id="tune", training_data=str(data), model="gpt-4o-mini", method=method, name="router", timeout=60
        )
        tune >> DeleteFineTunedModelOperator(task_id="delete", model=tune.output)
        tune >> WaitForFineTuningJobOperator(task_id="wait", job=tune.output)

    state, told = run(dag)

    assert state == "success"
    model = told["delete", "return_value"]
    assert model == told["wait", "fine_tuned_model"] == told["tune", "model_id"]
    with Client(base_url=service.base_url) as client, pytest.raises(NotFound):
        client.models.retrieve(model)

    with DAG("deleted_again", schedule=None) as again:
        DeleteFineTunedModelOperator(task_id="delete", model=model)
    assert run(again)[0] == "success"
