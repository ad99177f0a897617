"""What is tried again, what isn't, and what becomes of the job."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_tuneway._compat import AirflowFailException, TaskDeferralTimeout
from airflow_tuneway._runs import key_of
from airflow_tuneway.operators import (
    CancelFineTuningJobOperator,
    CreateFineTuningJobOperator,
    FineTuneOperator,
    UploadTrainingFileOperator,
    WaitForFineTuningJobOperator,
)
from tuneway import Client, JobSpec

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC
AT_ONCE = {"retry_delay": timedelta(0)}
SHORT = {"type": "supervised", "n_epochs": 1}


class DiesAfterSubmitting(FineTuneOperator):
    """Its first try ends right after the job was made, as when its worker is lost."""

    def await_job(self, client, context, job_id):
        context["ti"].xcom_push(key=f"job of try {context['ti'].try_number}", value=job_id)
        if context["ti"].try_number == 1:
            raise RuntimeError("the worker is lost")
        return super().await_job(client, context, job_id)


def jobs_of(service, data):
    """All jobs of this service that train this data."""
    with Client(base_url=service.base_url) as client:
        file_id = client.upload(data).id
        return [job for job in client.jobs.list() if job.training_file == file_id]


def made(client, data):
    return client.jobs.create(JobSpec(model="gpt-4o-mini", training_file=client.upload(data)))


@pytest.mark.parametrize("reuse", ["run", "content", "never"])
def test_a_retried_task_adopts_its_job(run, service, data, tries, reuse):
    with DAG(f"retried_{reuse}", start_date=START, schedule=None, default_args=AT_ONCE) as dag:
        DiesAfterSubmitting(
            task_id="tune",
            path=str(data),
            model="gpt-4o-mini",
            method=SHORT,
            reuse=reuse,
            retries=1,
            deferrable=True,
            timeout=60,
        )

    state, told = run(dag)

    assert state == "success"
    assert tries(dag.dag_id) == {"tune": 2}
    assert [job.id for job in jobs_of(service, data)] == [told["tune", "job_id"]]


@pytest.mark.parametrize(("reuse", "jobs"), [("run", 2), ("content", 1)])
def test_another_run_makes_its_own_job_unless_content_is_reused(run, service, data, reuse, jobs):
    with DAG(f"another_run_{reuse}", start_date=START, schedule=None) as dag:
        FineTuneOperator(task_id="tune", path=str(data), model="gpt-4o-mini", method=SHORT, reuse=reuse, timeout=60)

    assert [run(dag)[0], run(dag)[0]] == ["success", "success"]

    assert len(jobs_of(service, data)) == jobs


def test_a_clear_asks_anew_only_where_nothing_is_reused():
    def ti(max_tries):
        return SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=max_tries)

    first, cleared = ti(max_tries=2), ti(max_tries=1 + 2)  # cleared after one try: Airflow allows as many again

    assert key_of(first, reuse="never", retries=2) != key_of(cleared, reuse="never", retries=2)
    assert key_of(first, reuse="run", retries=2) == key_of(cleared, reuse="run", retries=2)


def test_bad_data_fails_the_task_at_once_and_names_the_line(run, service, tmp_path, tries, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"messages": [{"role": "usr", "content": "?"}]}) + "\n")
    with DAG("bad_data", start_date=START, schedule=None, default_args=AT_ONCE) as dag:
        UploadTrainingFileOperator(task_id="upload", path=str(bad), retries=3)

    state, _ = run(dag)

    assert state == "failed"
    assert tries(dag.dag_id) == {"upload": 1}
    assert "bad.jsonl:1" in capsys.readouterr().out


def test_a_job_that_was_cancelled_fails_the_task_at_once(run, stuck, data, tries):
    with Client(base_url=stuck.base_url) as client:
        job = client.cancel(made(client, data).id)
    with DAG("cancelled_job", start_date=START, schedule=None, default_args=AT_ONCE) as dag:
        WaitForFineTuningJobOperator(task_id="wait", job=job.id, retries=3, deferrable=True)

    state, _ = run(dag)

    assert state == "failed"
    assert tries(dag.dag_id) == {"wait": 1}


@pytest.mark.parametrize("deferrable", [True, False])
def test_when_the_time_is_up_the_job_goes_on_and_a_retry_waits_on(run, stuck, data, tries, deferrable):
    with DAG(f"time_up_{deferrable}", start_date=START, schedule=None, default_args=AT_ONCE) as dag:
        FineTuneOperator(
            task_id="tune", path=str(data), model="gpt-4o-mini", retries=1, deferrable=deferrable, timeout=0.3
        )

    state, _ = run(dag)

    assert state == "failed"
    assert tries(dag.dag_id) == {"tune": 2}
    assert [job.done for job in jobs_of(stuck, data)] == [False]


@pytest.mark.parametrize("deferrable", [True, False])
def test_when_the_time_is_up_the_job_is_cancelled_if_so_configured_and_no_other_is_paid(
    run, stuck, data, tries, deferrable
):
    with DAG(f"time_up_cancel_{deferrable}", start_date=START, schedule=None, default_args=AT_ONCE) as dag:
        FineTuneOperator(
            task_id="tune",
            path=str(data),
            model="gpt-4o-mini",
            retries=2,
            deferrable=deferrable,
            timeout=0.3,
            cancel_on_timeout=True,
        )

    state, _ = run(dag)

    assert state == "failed"
    assert tries(dag.dag_id) == {"tune": 1}
    assert [job.status for job in jobs_of(stuck, data)] == ["cancelled"]


@pytest.mark.parametrize("deferrable", [True, False])
def test_execution_timeout_counts_while_deferred_and_else(run, stuck, data, deferrable):
    with Client(base_url=stuck.base_url) as client:
        job = made(client, data)
    with DAG(f"execution_timeout_{deferrable}", start_date=START, schedule=None) as dag:
        WaitForFineTuningJobOperator(
            task_id="wait",
            job=job.id,
            deferrable=deferrable,
            execution_timeout=timedelta(seconds=1),
            cancel_on_timeout=True,
        )

    state, _ = run(dag)

    assert state == "failed"
    with Client(base_url=stuck.base_url) as client:
        assert client.jobs.retrieve(job.id).status == "cancelled"


@pytest.mark.parametrize(
    ("cancel", "raised", "status"),
    [(True, AirflowFailException, "cancelled"), (False, TaskDeferralTimeout, "validating_files")],
)
def test_a_deferral_that_airflow_itself_ends_is_cleaned_up_after(stuck, data, cancel, raised, status):
    with Client(base_url=stuck.base_url) as client:
        job = made(client, data)
        wait = WaitForFineTuningJobOperator(task_id="wait", job=job.id, cancel_on_timeout=cancel)
        left = SimpleNamespace(map_index=-1, xcom_pull=lambda **_: job.id)

        with pytest.raises(raised):
            wait.resume_execution("__fail__", {"error": "Trigger timeout"}, {"ti": left})

        assert client.jobs.retrieve(job.id).status == status


def test_a_job_can_be_cancelled_by_a_step_of_its_own(run, stuck, data):
    with DAG("cancel_step", start_date=START, schedule=None) as dag:
        upload = UploadTrainingFileOperator(task_id="upload", path=str(data))
        create = CreateFineTuningJobOperator(task_id="create", model="gpt-4o-mini", training_file=upload.output)
        CancelFineTuningJobOperator(task_id="cancel", job=create.output)

    state, told = run(dag)

    assert state == "success"
    assert told["cancel", "return_value"] == "cancelled"
    assert told["cancel", "job_url"].endswith(f"/jobs/{told['create', 'job_id']}")
