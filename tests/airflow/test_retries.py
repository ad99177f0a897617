"""What is tried again, what isn't, and what becomes of the job."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, task
from support.datasets import write
from support.fault_server import Fault, FaultServer
from support.support_chats import chats

from airflow_tuneway._compat import AirflowFailException, TaskDeferralTimeout
from airflow_tuneway._runs import requester_of
from airflow_tuneway.operators import (
    CancelFineTuningJobOperator,
    CreateFineTuningJobOperator,
    FineTuneOperator,
    UploadTrainingFileOperator,
    WaitForFineTuningJobOperator,
    _ending,
)
from tuneway import Client, JobSpec, Recipe, Requester
from tuneway.progress import FileUploaded, JobAdopted, JobCreated, Logged, Settling

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


def made(client, data, **by):
    spec = JobSpec(model="gpt-4o-mini", training_file=client.upload(data))
    return client.submit(spec, requester=Requester(**by))


@pytest.mark.parametrize("reuse", ["run", "content", "never"])
def test_a_retried_task_adopts_its_job(run, service, data, tries, reuse):
    with DAG(f"retried_{reuse}", start_date=START, schedule=None, default_args=AT_ONCE) as dag:
        DiesAfterSubmitting(
            task_id="tune",
            training_data=str(data),
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
        FineTuneOperator(
            task_id="tune", training_data=str(data), model="gpt-4o-mini", method=SHORT, reuse=reuse, timeout=60
        )

    assert [run(dag)[0], run(dag)[0]] == ["success", "success"]

    assert len(jobs_of(service, data)) == jobs


def task_instance(**more):
    given = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "max_tries": 2}
    return SimpleNamespace(**given | more)


def test_a_clear_asks_anew_only_where_nothing_is_reused():
    first = requester_of(task_instance(), retries=2)
    # cleared after one try: Airflow allows as many again
    cleared = requester_of(task_instance(max_tries=1 + 2), retries=2)

    assert first.names("never") != cleared.names("never")
    assert first.names("run") == cleared.names("run")


def test_who_asks_is_the_task_of_the_run_and_the_users_key_without_the_map_index():
    asks = requester_of(task_instance(map_index=3), retries=2, key="second")

    assert asks.origin == "airflow: d / r / t / second"
    assert asks == requester_of(task_instance(map_index=4), retries=2, key="second")
    assert asks.names("run") != requester_of(task_instance(), retries=2).names("run")


def test_the_deployment_is_the_configured_one_else_the_variables(monkeypatch):
    assert requester_of(task_instance(), retries=0).deployment is None

    monkeypatch.setenv("TUNEWAY_DEPLOYMENT", "variable")
    assert requester_of(task_instance(), retries=0).deployment == "variable"

    monkeypatch.setenv("AIRFLOW__TUNEWAY__DEPLOYMENT", "configured")
    assert requester_of(task_instance(), retries=0).origin == "airflow: configured / d / r / t"


def test_mapped_tasks_of_equal_content_share_a_job_unless_they_have_keys(run, service, data):
    with DAG("mapped", start_date=START, schedule=None) as dag:
        same = {"model": "gpt-4o-mini", "method": SHORT, "timeout": 60}
        one = FineTuneOperator.partial(task_id="one", **same).expand(training_data=[str(data)] * 2)
        keyed = FineTuneOperator.partial(task_id="keyed", training_data=str(data), **same)
        one >> keyed.expand(key=["{{ dag.dag_id }}-a", "{{ dag.dag_id }}-b"])

    assert run(dag)[0] == "success"

    askers = sorted(job.metadata["tuneway_origin"].split(" / ", 2)[2] for job in jobs_of(service, data))
    assert askers == ["keyed / mapped-a", "keyed / mapped-b", "one"]


def test_a_file_that_sorts_in_first_is_one_more_job_when_all_mapped_tasks_are_cleared(stuck, monkeypatch, tmp_path):
    connection = {"conn_type": "tuneway", "host": stuck.base_url, "extra": {"settle": 0}}  # it shows at once
    monkeypatch.setenv("AIRFLOW_CONN_TUNEWAY_DEFAULT", json.dumps(connection))
    with DAG("many_files", start_date=START, schedule=None):
        create = CreateFineTuningJobOperator.partial(task_id="t", model="gpt-4o-mini", metadata={"of": str(tmp_path)})
        create = create.expand(training_file=["as Airflow maps it"])

    def run_all(files, *, max_tries):
        made = []
        for index, file in enumerate(files):
            ti = task_instance(map_index=index, max_tries=max_tries, xcom_push=lambda key, value: None)
            made.append(create.unmap({"training_file": file}).execute({"ti": ti})["job_id"])
        return made

    with Client(base_url=stuck.base_url) as client:
        rows = [chats(10, seed=seed) for seed in range(21)]
        names = [write(tmp_path / f"{number:02}.jsonl", chat) for number, chat in enumerate(rows)]
        first, *files = [client.upload(name).id for name in names]

        before = run_all(files, max_tries=0)
        after = run_all([first, *files], max_tries=1)

        assert after[1:] == before
        assert len(list(client.jobs.list(metadata={"of": str(tmp_path)}))) == len({*after}) == 21


def test_bad_data_fails_the_task_at_once_and_names_the_line(run, service, tmp_path, tries, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"messages": [{"role": "usr", "content": "?"}]}) + "\n")
    with DAG("bad_data", start_date=START, schedule=None, default_args=AT_ONCE) as dag:
        UploadTrainingFileOperator(task_id="upload", training_data=str(bad), retries=3)

    state, _ = run(dag)

    assert state == "failed"
    assert tries(dag.dag_id) == {"upload": 1}
    assert "bad.jsonl:1" in capsys.readouterr().out


def _bad_recipe(data):
    return Recipe(model="gpt-4o-mini", training_data=data, seed=-1)


def _bad_fields(data):
    return {"model": "gpt-4o-mini", "training_data": data, "sede": 7}


@pytest.mark.parametrize("says", [_bad_recipe, _bad_fields])
def test_a_function_that_says_a_bad_field_fails_its_task_at_once(run, stuck, data, tries, says):
    with DAG(f"said{says.__name__}", start_date=START, schedule=None, default_args=AT_ONCE) as dag:

        @task.fine_tune(retries=3)
        def tune():
            return says(str(data))

        tune()

    state, _ = run(dag)

    assert state == "failed"
    assert tries(dag.dag_id) == {"tune": 1}
    assert jobs_of(stuck, data) == []


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
            task_id="tune", training_data=str(data), model="gpt-4o-mini", retries=1, deferrable=deferrable, timeout=0.3
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
            training_data=str(data),
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
    with DAG(f"execution_timeout_{deferrable}", start_date=START, schedule=None) as dag:
        upload = UploadTrainingFileOperator(task_id="upload", training_data=str(data))
        create = CreateFineTuningJobOperator(task_id="create", model="gpt-4o-mini", training_file=upload.output)
        WaitForFineTuningJobOperator(
            task_id="wait",
            job=create.output,
            deferrable=deferrable,
            execution_timeout=timedelta(seconds=1),
            cancel_on_timeout=True,
        )

    state, _ = run(dag)

    assert state == "failed"
    assert [job.status for job in jobs_of(stuck, data)] == ["cancelled"]


@pytest.mark.parametrize(
    ("cancel", "run_id", "raised", "status"),
    [
        (True, "r", AirflowFailException, "cancelled"),
        (True, "another", TaskDeferralTimeout, "validating_files"),
        (False, "r", TaskDeferralTimeout, "validating_files"),
    ],
)
def test_a_deferral_that_airflow_itself_ends_is_cleaned_up_after(stuck, data, cancel, run_id, raised, status):
    with Client(base_url=stuck.base_url) as client:
        job = made(client, data, engine="airflow", pipeline="d", run=run_id, step="create")
        wait = WaitForFineTuningJobOperator(task_id="wait", job=job.id, cancel_on_timeout=cancel)
        left = task_instance(task_id="wait", xcom_pull=lambda **_: job.id)

        with pytest.raises(raised):
            wait.resume_execution("__fail__", {"error": "Trigger timeout"}, {"ti": left})

        assert client.jobs.retrieve(job.id).status == status


def killed(operator, at):
    """This operator, but Airflow tells it to stop at this piece of news, in the middle of what it does."""

    class Killed(operator):
        def tell(self, news):
            if isinstance(news, at):
                self.on_kill()
            super().tell(news)

    return Killed


@pytest.fixture
def ended(supervisor):
    """A task that is ended by a person: gives its instance."""
    supervisor.state = "failed"
    return task_instance(run_id="run", task_id="tune", xcom_push=lambda key, value: None)


@pytest.mark.parametrize(("pipeline", "status"), [("d", "cancelled"), ("another", "validating_files")])
@pytest.mark.parametrize("at", [JobAdopted, Logged])
def test_a_kill_on_a_worker_cancels_only_what_the_task_has_made(stuck, data, ended, at, pipeline, status):
    with Client(base_url=stuck.base_url, settle=0.2) as client:
        by = {"engine": "airflow", "pipeline": pipeline, "run": "run", "step": "tune"}
        job = made(client, data, **by)
        tune = killed(FineTuneOperator, at)(
            task_id="tune", training_data=data, model="gpt-4o-mini", reuse="content", deferrable=False, timeout=60
        )

        with pytest.raises(AirflowFailException, match="The task was ended"):
            tune.execute({"ti": ended})

        assert client.jobs.retrieve(job.id).status == status


@pytest.mark.parametrize("state", ["failed", "success"])
@pytest.mark.parametrize("at", [JobCreated, Settling])
def test_a_task_that_is_ended_while_it_submits_takes_its_job_along(stuck, data, ended, supervisor, at, state):
    supervisor.state = state
    with Client(base_url=stuck.base_url, settle=0.2) as client:
        create = killed(CreateFineTuningJobOperator, at)(
            task_id="tune", model="gpt-4o-mini", training_file=client.upload(data).id
        )

        with pytest.raises(AirflowFailException, match="The task was ended"):
            create.execute({"ti": ended})

    assert [job.status for job in jobs_of(stuck, data)] == ["cancelled"]


def test_a_task_that_is_ended_while_its_data_is_sent_creates_no_job(stuck, data, ended):
    tune = killed(FineTuneOperator, FileUploaded)(task_id="tune", training_data=data, model="gpt-4o-mini")

    with pytest.raises(AirflowFailException, match="The task was ended"):
        tune.execute({"ti": ended})

    assert jobs_of(stuck, data) == []


def test_a_create_that_is_on_its_way_when_the_task_is_ended_is_cancelled(ended, monkeypatch):
    tune = CreateFineTuningJobOperator(task_id="tune", model="gpt-4o-mini", training_file="file-1")

    with FaultServer() as server:
        connection = {"conn_type": "tuneway", "host": server.base_url, "extra": {"settle": 0.3}}
        monkeypatch.setenv("AIRFLOW_CONN_TUNEWAY_DEFAULT", json.dumps(connection))
        server.service.add_file(id="file-1")

        async def acts_late(create):
            async def act_afterwards(listing):
                nothing = listing.act()
                create.act()
                await listing.write(nothing)

            server.fault(Fault(act_afterwards), "GET", "/fine_tuning/jobs")
            os.kill(os.getpid(), signal.SIGTERM)  # the request is there, and no reply
            await asyncio.Event().wait()

        server.fault(Fault(acts_late), "POST", "/fine_tuning/jobs")
        before = signal.signal(signal.SIGTERM, lambda *_: tune.on_kill())
        try:
            with pytest.raises(AirflowFailException, match="The task was ended"):
                tune.execute({"ti": ended})
        finally:
            signal.signal(signal.SIGTERM, before)

        assert [job["status"] for job in server.service.jobs] == ["cancelled"]


def test_a_kill_leaves_the_jobs_of_mapped_siblings_alone(stuck, data, ended):
    with Client(base_url=stuck.base_url, settle=0.2) as client:
        file = client.upload(data).id
        by = Requester(engine="airflow", pipeline="d", run="run", step="tune")
        sibling = client.submit(JobSpec(model="gpt-4o-mini", training_file=file, seed=1), requester=by)
        create = killed(CreateFineTuningJobOperator, Settling)(
            task_id="tune", model="gpt-4o-mini", training_file=file, seed=2
        )

        with pytest.raises(AirflowFailException, match="The task was ended"):
            create.execute({"ti": ended})

    assert {job.id == sibling.id: job.status for job in jobs_of(stuck, data)} == {
        True: "validating_files",
        False: "cancelled",
    }


@pytest.mark.parametrize("state", ["running", "queued", "up_for_retry"])
def test_a_task_whose_worker_goes_away_while_it_submits_goes_on(stuck, data, ended, supervisor, state):
    supervisor.state = state
    with Client(base_url=stuck.base_url, settle=0.2) as client:
        create = killed(CreateFineTuningJobOperator, Settling)(
            task_id="tune", model="gpt-4o-mini", training_file=client.upload(data).id
        )

        create.execute({"ti": ended})

    assert [job.status for job in jobs_of(stuck, data)] == ["validating_files"]


def test_a_kill_in_the_middle_of_a_question_to_airflow_is_heard(stuck, data, ended, supervisor, monkeypatch):
    busy = threading.Lock()  # Airflow's channel takes one question at a time
    ask = supervisor.send

    def send(message):
        with busy:
            return ask(message)

    monkeypatch.setattr(supervisor, "send", send)
    monkeypatch.setattr(_ending, "DECISION_SECONDS", 0.1)
    tune = FineTuneOperator(task_id="tune", training_data=data, model="gpt-4o-mini", timeout=60)

    def push(key, value):
        with busy:
            tune.on_kill()

    ended.xcom_push = push

    with pytest.raises(AirflowFailException, match=r"The task was ended|cancelled"):
        tune.execute({"ti": ended})

    assert [job.status for job in jobs_of(stuck, data)] == ["cancelled"]


def test_a_job_can_be_cancelled_by_a_step_of_its_own(run, stuck, data):
    with DAG("cancel_step", start_date=START, schedule=None) as dag:
        upload = UploadTrainingFileOperator(task_id="upload", training_data=str(data))
        create = CreateFineTuningJobOperator(task_id="create", model="gpt-4o-mini", training_file=upload.output)
        CancelFineTuningJobOperator(task_id="cancel", job=create.output)

    state, told = run(dag)

    assert state == "success"
    assert (told["cancel", "return_value"]["status"], told["cancel", "return_value"]["job_id"]) == (
        "cancelled",
        told["create", "job_id"],
    )
    assert told["cancel", "job_url"].endswith(f"/jobs/{told['create', 'job_id']}")
