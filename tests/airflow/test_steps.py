"""The steps, run by `dag.test()` against the real local service."""

from __future__ import annotations

import json
import time
from datetime import datetime
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from support.any_airflow import TaskDeferred

from airflow_tuneway.operators import (
    CreateFineTuningJobOperator,
    FineTuneOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    ValidateTrainingDataOperator,
    WaitForFineTuningJobOperator,
)
from airflow_tuneway.sensors import FineTuningJobSensor
from tuneway import Client, JobSpec
from tuneway.registry import DataFile, ModelRecord, open_registry

pytestmark = pytest.mark.usefixtures("database")

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC
SHORT = {"type": "supervised", "n_epochs": 1}


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_four_steps_hand_each_other_their_outputs(run, service, data, tmp_path, deferrable):
    with DAG("four_steps", start_date=START, schedule=None) as dag:
        checked = ValidateTrainingDataOperator(task_id="validate", path=str(data))
        upload = UploadTrainingFileOperator(task_id="upload", path=str(data))
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
    version = open_registry(f"sqlite:///{tmp_path / 'models.db'}").get("support-router@champion")
    assert version.record.job_id == job.id
    assert version.record.origin.pipeline == "four_steps"
    assert version.record.requested == told["create", "requested"] == {"n_epochs": 1, "batch_size": "auto"}
    assert version.record.resolved["batch_size"] > 0
    assert told["register", "return_value"]["model_id"] == job.fine_tuned_model
    assert all(len(json.dumps(value)) < 1000 for value in told.values())


@pytest.mark.parametrize("deferrable", [True, False])
def test_one_step_does_all_four(run, service, data, tmp_path, deferrable):
    with DAG("one_step", start_date=START, schedule=None) as dag:
        FineTuneOperator(
            task_id="tune",
            path=str(data),
            model="gpt-4o-mini",
            method=SHORT,
            name="support-router",
            deferrable=deferrable,
            timeout=60,
        )

    state, told = run(dag)

    assert state == "success"
    version = open_registry(f"sqlite:///{tmp_path / 'models.db'}").get("support-router")
    assert told["tune", "ref"] == version.ref == "support-router:1"
    assert told["tune", "job_id"] == version.record.job_id
    assert version.record.requested == {"n_epochs": 1}


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
    }


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
