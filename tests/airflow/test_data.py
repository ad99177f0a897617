"""Training data as Airflow's users have it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_tuneway.operators import FineTuneOperator, UploadTrainingFileOperator, ValidateTrainingDataOperator
from tuneway import Recipe
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
        InvalidSpec, match=r"gs://bucket/train.jsonl can't be opened: No filesystem registered"
    ) as caught:
        validate(ObjectStoragePath("gs://secret_conn@bucket/train.jsonl"))
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


def test_the_rows_of_a_query_in_another_order_are_the_same_job(run, service, tmp_path):
    duckdb, parquet = pytest.importorskip("duckdb"), pytest.importorskip("pyarrow.parquet")
    place = tmp_path / "tickets.duckdb"
    with duckdb.connect(place) as tickets:
        tickets.sql("CREATE TABLE solved AS SELECT 'Order ' || range AS ticket, 'shipping' AS team FROM range(30)")

    def solved(order):
        with duckdb.connect(place, read_only=True) as tickets:
            return tickets.sql(f"SELECT ticket, team FROM solved ORDER BY {order}").to_arrow_table()

    how = {"row": {"user": "{ticket}", "assistant": "{team}"}, "order": "content", "model": "gpt-4o-mini"}
    how |= {"method": {"type": "supervised", "n_epochs": 1}}
    with DAG("by_query", schedule=None) as dag:

        @task
        def in_a_store():
            path = ObjectStoragePath(tmp_path.as_uri()) / "solved.parquet"
            with path.open("wb") as file:
                parquet.write_table(solved("ticket"), file)
            return path

        @task
        def as_rows():
            return solved("ticket DESC").to_pylist()

        @task.fine_tune(task_id="by_recipe", reuse="content", timeout=60)
        def tune():
            return Recipe(training_data=solved("hash(ticket)"), **how)

        for task_id, rows in (("by_path", in_a_store()), ("by_rows", as_rows())):
            FineTuneOperator(task_id=task_id, training_data=rows, reuse="content", timeout=60, **how)
        tune()

    state, told = run(dag)

    assert state == "success"
    assert len({told[task_id, "job_id"] for task_id in ("by_path", "by_rows", "by_recipe")}) == 1


def marked(word):
    """Rows with a word that nothing else has."""
    return [
        {"prompt": f"Is {number} {word.upper()}?", "completion": "yes" if number % 2 else "no"} for number in range(40)
    ]


def stored(word):
    """The tables of Airflow's database in which a word of the rows is."""
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"], "airflow.db"))) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {table: database.execute(f'SELECT * FROM "{table}"').fetchall() for table in tables}
    return {table for table in tables if any(word.upper() in str(row) for row in rows[table])}


def rendered(task_id):
    """What Airflow's pages show as a task's arguments."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session
    from sqlalchemy import select

    fields = RenderedTaskInstanceFields
    query = select(fields.rendered_fields).where(fields.task_id == task_id).order_by(fields.run_id.desc())
    with create_session() as session:
        return session.execute(query).scalars().first()


@pytest.mark.slow
def test_rows_are_shown_as_source_count_and_hash_and_stored_nowhere_but_in_an_xcom_of_their_own(run, service):
    computed, handed_on, by_frame = (marked(word) for word in ("ofdag", "ofxcom", "offunction"))
    with DAG("hidden_rows", schedule=None) as dag:

        @task
        def rows():
            return handed_on

        @task.fine_tune(task_id="decorated", timeout=60)
        def tune(given):
            assert given == handed_on
            return Recipe(model="gpt-4o-mini", training_data=by_frame)

        found = rows()
        ValidateTrainingDataOperator(task_id="validated", training_data=computed)
        UploadTrainingFileOperator(task_id="uploaded", training_data=found, validation_data=computed)
        FineTuneOperator(
            task_id="tuned", training_data=lambda: computed, validation_data=0.5, order="content",
            model="gpt-4o-mini", timeout=60, deferrable=True,
        )  # fmt: skip
        tune(found)

    state, told = run(dag)

    assert state == "success"
    assert [stored(word) for word in ("ofdag", "ofxcom", "offunction")] == [set(), {"xcom"}, set()]
    file, [training, _] = told["uploaded", "return_value"], told["tuned", "data"]
    shown = {task_id: rendered(task_id) for task_id in ("validated", "uploaded", "tuned", "decorated")}
    described = {"source": "rows", "rows": 40, "sha256": file["validation"]["sha256"]}
    assert shown["validated"]["training_data"] == described
    assert shown["uploaded"]["training_data"] == {"source": "rows", "rows": 40, "sha256": file["sha256"]}
    assert shown["uploaded"]["validation_data"] == described
    assert (shown["tuned"]["training_data"], shown["tuned"]["validation_data"]) == (
        {"source": "rows", "rows": training["rows"], "sha256": training["sha256"]}, 0.5,
    )  # fmt: skip
    assert "40" in str(shown["decorated"]["op_args"])


def test_rows_by_mistake_and_urls_with_secrets_are_not_stored_either(run, service):
    with DAG("hidden_mistakes", schedule=None) as dag:

        @task
        def text():
            return json.dumps(marked("oftext"))

        ValidateTrainingDataOperator(task_id="text_of_rows", training_data=text())
        ValidateTrainingDataOperator(
            task_id="presigned", training_data="http://127.0.0.1:9/train.jsonl?signature=OFURL"
        )

    state, _ = run(dag)

    assert state == "failed"
    assert [stored(word) for word in ("oftext", "ofurl")] == [{"xcom"}, {"dag_code"}]
    assert rendered("text_of_rows")["training_data"] == {"source": "a str"}
    assert rendered("presigned")["training_data"] == {"source": "http://127.0.0.1:9/train.jsonl"}


def test_templates_and_outputs_of_other_tasks_are_left_to_airflow(data):
    with DAG("left_alone", schedule=None):

        @task
        def some():
            return []

        output = some()
        upload = UploadTrainingFileOperator(
            task_id="upload", training_data=[{"messages": output}], validation_data="{{ params.path }}"
        )

    assert upload.upstream_task_ids == {"some"}
    assert upload.training_data == [{"messages": output}]
    assert upload.validation_data == "{{ params.path }}"
