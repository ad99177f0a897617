"""The steps, run by `dag.test()` against the real local service."""

from __future__ import annotations

import json
import time
from datetime import datetime
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from support.any_airflow import TaskDeferred
from support.datasets import good_rows, write
from support.support_chats import chats

from airflow_tuneway.operators import (
    CreateFineTuningJobOperator,
    FineTuneOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    ValidateTrainingDataOperator,
    WaitForFineTuningJobOperator,
)
from airflow_tuneway.sensors import FineTuningJobSensor
from tuneway import Client, InvalidSpec, JobSpec, dataset
from tuneway.registry import DataFile, ModelRecord, open_registry
from tuneway.steps import data_facts, data_summary, file_summary, job_summary

pytestmark = pytest.mark.usefixtures("database")

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC
SHORT = {"type": "supervised", "n_epochs": 1}


@pytest.fixture
def valid(tmp_path):
    """Validation data that goes with the training data."""
    path = tmp_path / "valid.jsonl"
    path.write_text("\n".join(map(json.dumps, chats(5, seed=abs(hash(str(path))) % 1_000_000))) + "\n")
    return path


@pytest.fixture
def registered(tmp_path):
    """Gives the record that a DAG has written, without what differs from job to job."""

    def read(ref="support-router"):
        return open_registry(f"sqlite:///{tmp_path / 'models.db'}").get(ref)

    return read


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_four_steps_hand_each_other_their_outputs(run, service, data, registered, deferrable):
    with DAG("four_steps", start_date=START, schedule=None) as dag:
        checked = ValidateTrainingDataOperator(task_id="validate", training_data=str(data))
        upload = UploadTrainingFileOperator(task_id="upload", training_data=str(data))
        create = CreateFineTuningJobOperator(
            task_id="create",
            model="gpt-4o-mini",
            training_file=upload.output,
            method=SHORT | {"batch_size": "auto"},
        )
        wait = WaitForFineTuningJobOperator(task_id="wait", job=create.output, deferrable=deferrable, timeout=60)
        register = RegisterModelOperator(task_id="register", job=wait.output, name="support-router", alias="champion")
        checked >> upload
        wait >> register

    state, told = run(dag)

    assert state == "success"
    with Client(base_url=service.base_url) as client:
        job = client.jobs.retrieve(told["create", "job_id"])
    assert job.status == "succeeded"
    assert told["wait", "fine_tuned_model"] == job.fine_tuned_model
    version = registered("support-router@champion")
    assert version.record.job_id == job.id
    assert (version.record.origin.pipeline, version.record.origin.step) == ("four_steps", "register")
    assert version.record.requested == told["create", "requested"] == {"n_epochs": 1, "batch_size": "auto"}
    assert version.record.resolved["batch_size"] > 0
    assert told["register", "return_value"]["model_id"] == job.fine_tuned_model
    assert all(len(json.dumps(value)) < 1000 for value in told.values())


def test_each_step_gives_the_same_json_as_in_every_engine(run, service, data, valid):
    with DAG("outputs", start_date=START, schedule=None) as dag:
        both = {"training_data": str(data), "validation_data": str(valid)}
        checked = ValidateTrainingDataOperator(task_id="validate", **both)
        upload = UploadTrainingFileOperator(task_id="upload", **both)
        checked >> upload
        CreateFineTuningJobOperator(task_id="create", model="gpt-4o-mini", training_file=upload.output, method=SHORT)

    state, told = run(dag)

    assert state == "success"
    report = dataset.validate(data, validation_data=valid)
    assert told["validate", "return_value"] == data_summary(report)
    with Client(base_url=service.base_url) as client:
        file = client.upload(data, validation_data=valid)
        job = client.jobs.retrieve(told["create", "job_id"])
    assert told["upload", "return_value"] == file_summary(file)
    assert told["upload", "rows"] == report.rows
    assert told["upload", "file_id"] == file.id
    assert (job.training_file, job.validation_file) == (file.id, file.validation.id)
    created = told["create", "return_value"]
    assert created.keys() == job_summary(job, {"requested": {"n_epochs": 1}}, data=report).keys()
    assert created["data"] == data_facts(report)


@pytest.mark.parametrize("deferrable", [True, False])
def test_one_step_does_all_four(run, service, data, registered, deferrable):
    with DAG("one_step", start_date=START, schedule=None) as dag:
        FineTuneOperator(
            task_id="tune",
            training_data=str(data),
            model="gpt-4o-mini",
            method=SHORT,
            name="support-router",
            deferrable=deferrable,
            timeout=60,
        )

    state, told = run(dag)

    assert state == "success"
    version = registered()
    assert told["tune", "ref"] == version.ref == "support-router:1"
    assert told["tune", "job_id"] == version.record.job_id
    assert version.record.requested == {"n_epochs": 1}
    assert (version.record.origin.pipeline, version.record.origin.step) == ("one_step", "tune")


def test_one_step_that_does_not_wait_has_the_sensor_as_its_other_half(run, service, data, registered):
    with DAG("two_halves", start_date=START, schedule=None) as dag:
        tune = FineTuneOperator(
            task_id="tune", training_data=str(data), model="gpt-4o-mini", method=SHORT, wait_for_completion=False
        )
        sense = FineTuningJobSensor(task_id="sense", job=tune.output, poke_interval=0.1, timeout=60)
        RegisterModelOperator(task_id="register", job=sense.output, name="support-router")

    state, told = run(dag)

    assert state == "success"
    assert told["tune", "status"] != "succeeded"
    assert told["tune", "job_id"] == told["sense", "return_value"]["job_id"] == registered().record.job_id
    assert registered().record.training.rows == 24


def test_one_step_that_does_not_wait_cannot_register():
    with pytest.raises(InvalidSpec, match="wait_for_completion"):
        FineTuneOperator(task_id="tune", training_data="t", model="m", name="router", wait_for_completion=False)


def test_one_step_and_the_steps_one_by_one_write_the_same_record(run, service, data, valid, registered):
    both = {"training_data": str(data), "validation_data": str(valid)}
    training = {"model": "gpt-4o-mini", "method": SHORT, "seed": 7}
    with DAG("in_steps", start_date=START, schedule=None) as in_steps:
        upload = UploadTrainingFileOperator(task_id="upload", **both)
        create = CreateFineTuningJobOperator(task_id="create", training_file=upload.output, **training)
        wait = WaitForFineTuningJobOperator(task_id="wait", job=create.output, timeout=60)
        RegisterModelOperator(task_id="register", job=wait.output, name="in-steps")
    with DAG("in_one", start_date=START, schedule=None) as in_one:
        FineTuneOperator(task_id="tune", name="in-one", deferrable=True, timeout=60, **both, **training)

    assert [run(dag)[0] for dag in (in_steps, in_one)] == ["success", "success"]

    kept = {"requested", "resolved", "training", "validation", "method", "base_model", "checkpoint_choice", "metrics"}
    steps, one = (registered(name).record.model_dump(include=kept) for name in ("in-steps", "in-one"))
    assert steps == one
    report = dataset.validate(data, validation_data=valid)
    assert [(one[name]["rows"], one[name]["tokens"]) for name in ("training", "validation")] == [
        (report.rows, report.tokens.total),
        (report.validation.rows, report.validation.tokens.total),
    ]


def test_one_step_takes_files_that_other_steps_have_uploaded_and_knows_their_rows(
    run, service, data, valid, registered
):
    with DAG("of_files", start_date=START, schedule=None) as dag:
        train = UploadTrainingFileOperator(task_id="train", training_data=str(data))
        beside = UploadTrainingFileOperator(task_id="valid", validation_data=str(valid))
        FineTuneOperator(
            task_id="tune",
            model="gpt-4o-mini",
            training_file=train.output,
            validation_file=beside.output,
            method=SHORT,
            name="of-files",
            timeout=60,
        )

    assert run(dag)[0] == "success"

    record = registered("of-files").record
    assert (record.training.rows, record.validation.rows) == (24, 5)


def test_without_a_name_one_step_gives_the_job_and_what_is_known_of_its_data(run, service, data):
    with DAG("no_name", start_date=START, schedule=None) as dag:
        FineTuneOperator(task_id="tune", training_data=str(data), model="gpt-4o-mini", method=SHORT, deferrable=True)

    state, told = run(dag)

    assert state == "success"
    assert told["tune", "return_value"]["fine_tuned_model"]
    assert told["tune", "requested"] == {"n_epochs": 1}
    assert told["tune", "data"] == data_facts(dataset.validate(data))


def test_before_it_defers_a_step_leaves_word_of_its_job_and_takes_its_pace_and_deadline_along(stuck, data):
    with Client(base_url=stuck.base_url) as client:
        job = client.jobs.create(JobSpec(model="gpt-4o-mini", training_file=client.upload(data)))
    left = {}
    ti = SimpleNamespace(
        dag_id="d",
        run_id="r",
        task_id="wait",
        map_index=-1,
        xcom_push=lambda key, value: left.update({key: value}),
    )
    pace = {"minimum": 7.0, "maximum": 70.0}
    wait = WaitForFineTuningJobOperator(task_id="wait", job=job.id, deferrable=True, timeout=60, poll=pace)
    before = time.time()

    with pytest.raises(TaskDeferred) as deferred:
        wait.execute({"ti": ti})

    assert left["job_id"] == job.id
    _, stored = deferred.value.trigger.serialize()
    assert before + 60 <= stored["token"].pop("deadline") <= time.time() + 60
    assert stored == {
        "token": {"v": 1, "job_id": job.id},
        "conn_id": "tuneway_default",
        "poll": pace,
        "cancel_on_kill": True,
        "maker": {"engine": "airflow", "deployment": None, "pipeline": "d", "run": "r"},
    }


def test_an_interval_in_seconds_is_a_schedule_that_does_not_grow():
    waits = (
        WaitForFineTuningJobOperator(task_id="wait", job="ftjob-1", poll_interval=30),
        FineTuneOperator(task_id="tune", model="m", training_data="t.jsonl", poll_interval=30),
        FineTuningJobSensor(task_id="sense", job="ftjob-1", poll_interval=30),
    )

    assert [wait.poll for wait in waits] == [{"minimum": 30, "maximum": 30}] * 3
    with pytest.raises(InvalidSpec, match="poll_interval"):
        WaitForFineTuningJobOperator(task_id="wait", job="ftjob-1", poll_interval=30, poll={"minimum": 5})


@pytest.mark.parametrize("configured", ["True", "False"])
def test_whether_steps_defer_is_configured_unless_it_is_said(monkeypatch, configured):
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", configured)

    for operator in (WaitForFineTuningJobOperator, FineTuningJobSensor):
        assert operator(task_id="wait", job="ftjob-1").deferrable is (configured == "True")
        assert operator(task_id="wait", job="ftjob-1", deferrable=False).deferrable is False


def test_lineage_goes_from_the_datas_hash_to_the_model(tmp_path):
    extractors = pytest.importorskip("airflow.providers.openlineage.extractors")
    operator = RegisterModelOperator(task_id="register", job="ftjob-1", name="router")
    assert operator.get_openlineage_facets_on_complete(None) is None
    operator._record = ModelRecord(
        name="router",
        model_id="ft:m:1",
        job_id="ftjob-1",
        training=DataFile(id="file-1", sha256="ab" * 32),
        service_url="http://127.0.0.1:8765/v1",
    )

    lineage = operator.get_openlineage_facets_on_complete(None)

    assert isinstance(lineage, extractors.OperatorLineage)
    assert [(each.namespace, each.name) for each in lineage.inputs] == [("sha256", "ab" * 32)]
    assert [each.name for each in lineage.outputs] == ["ft:m:1"]
    assert lineage.run_facets["externalQuery"].externalQueryId == "ftjob-1"


def test_warnings_about_uploaded_data_are_in_the_tasks_log(service, data, tmp_path, monkeypatch):
    few = write(tmp_path / "few.jsonl", good_rows(start=100, count=4))
    step = UploadTrainingFileOperator(task_id="upload", training_data=str(data), validation_data=str(few))
    said = []
    monkeypatch.setattr(step.log, "warning", lambda text, *values: said.append(text % values))
    with Client(base_url=service.base_url) as client:
        step.work(client, {})
    assert [line for line in said if "few.jsonl" in line]
