"""Training data as Airflow's users have it."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_tuneway.operators import FineTuneOperator, UploadTrainingFileOperator, ValidateTrainingDataOperator
from tuneway.dataset import validate
from tuneway.errors import InvalidSpec

ROWS = [{"question": f"Is {number} odd?", "answer": "yes" if number % 2 else "no"} for number in range(30)]
ROW = {"user": "{question}", "assistant": "{answer}"}


def test_a_path_of_object_storage_is_the_data_that_it_names(run, service, data):
    path = ObjectStoragePath(data.as_uri())
    with DAG("object_storage", schedule=None) as dag:
        ValidateTrainingDataOperator(task_id="validate", training_data=path)
        UploadTrainingFileOperator(task_id="upload", training_data=path)

    state, told = run(dag)

    assert state == "success"
    assert told["upload", "return_value"]["sha256"] == validate(data).sha256
    assert told["validate", "return_value"]["rows"] == told["upload", "return_value"]["rows"]


def test_a_store_without_its_provider_is_named(monkeypatch):
    with pytest.raises(
        InvalidSpec, match=r"s3://bucket/train.jsonl can't be opened: No filesystem registered"
    ) as caught:
        validate(ObjectStoragePath("s3://secret_conn@bucket/train.jsonl"))
    assert "secret_conn" not in str(caught.value)


def test_the_rows_of_the_task_before_become_a_model(run, service):
    with DAG("rows", schedule=None) as dag:

        @task
        def rows():
            return ROWS

        FineTuneOperator(
            task_id="tune", training_data=rows(), validation_data=0.4, row=ROW, order="content", model="gpt-4o-mini",
            method={"type": "supervised", "n_epochs": 1}, timeout=60,
        )  # fmt: skip

    state, told = run(dag)

    assert state == "success"
    training, validation = told["tune", "data"]
    assert training["rows"] + validation["rows"] == len(ROWS)
