"""Models as assets: each registration updates the asset of its model, so other DAGs can run on it."""

from __future__ import annotations

from datetime import datetime

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset

from airflow_tuneway.assets import model_asset
from airflow_tuneway.operators import (
    FineTuneOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    ValidateTrainingDataOperator,
)
from tuneway import Client, JobSpec, Supervised

pytestmark = pytest.mark.usefixtures("database")

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC


@pytest.fixture
def job_id(service, data):
    """A job that has succeeded."""
    with Client(base_url=service.base_url, settle=0.2) as client:
        spec = JobSpec(model="gpt-4o-mini", training_file=client.upload(data), method=Supervised(n_epochs=1))
        return client.wait(client.jobs.create(spec).id, timeout=60).id


def events_of(dag_id):
    """The events of assets that a DAG has caused: the asset's URI, and what is told with it."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    what = select(AssetModel.uri, AssetEvent.extra).where(
        AssetEvent.asset_id == AssetModel.id, AssetEvent.source_dag_id == dag_id
    )
    with create_session() as session:
        return [tuple(row) for row in session.execute(what).all()]


@pytest.mark.parametrize(
    ("dag_id", "given", "mapped", "names"),
    [
        ("literal", {"name": "known"}, {}, ["known"]),
        ("templated", {"name": "{{ dag.dag_id }}"}, {}, ["templated"]),
        ("mapped_elsewhere", {"name": "constant"}, {"reason": ["first", "second"]}, ["constant", "constant"]),
        ("mapped_names", {}, {"name": ["one", "two"]}, ["one", "two"]),
    ],
)
def test_each_registration_updates_the_asset_of_its_model(run, job_id, dag_id, given, mapped, names):
    with DAG(dag_id, start_date=START, schedule=None) as dag:
        given = {"task_id": "register", "job": job_id} | given
        if mapped:
            RegisterModelOperator.partial(**given).expand(**mapped)
        else:
            RegisterModelOperator(**given)

    state, _ = run(dag)

    assert state == "success"
    told = events_of(dag_id)
    assert sorted(uri for uri, _ in told) == [f"tuneway://models/{name}" for name in names]
    assert {extra["name"] for _, extra in told} == set(names)
    assert {extra["job_id"] for _, extra in told} == {job_id}


def test_a_mapped_fine_tune_updates_the_asset_of_its_model(run, service, data):
    with DAG("mapped_tune", start_date=START, schedule=None) as dag:
        FineTuneOperator.partial(
            task_id="tune", training_data=str(data), model="gpt-4o-mini", name="tuned", timeout=60
        ).expand(method=[{"type": "supervised", "n_epochs": 1}])

    state, told = run(dag)

    assert state == "success"
    [(uri, extra)] = events_of("mapped_tune")
    assert uri == "tuneway://models/tuned"
    assert extra["ref"] == told["tune", "return_value"]["ref"]


def test_outlets_of_ones_own_are_kept_as_they_are():
    own = [Asset("mine")]

    assert (
        RegisterModelOperator(task_id="register", job="ftjob-1", name="{{ params.name }}", outlets=own).outlets == own
    )


@pytest.mark.parametrize("kind", [FineTuneOperator, UploadTrainingFileOperator, ValidateTrainingDataOperator])
def test_data_that_is_an_asset_is_read_at_its_uri_and_is_an_inlet(run, service, data, kind):
    tickets, another = Asset(uri=data.as_uri(), name=f"tickets of {kind.__name__}"), Asset("another")
    more = {"model": "gpt-4o-mini", "wait_for_completion": False} if kind is FineTuneOperator else {}
    with DAG(f"reads_{kind.__name__}", start_date=START, schedule=tickets) as dag:
        step = kind(task_id="step", training_data=tickets, inlets=[another], **more)
        EmptyOperator(task_id="other", inlets=[another])

    state, told = run(dag)

    assert state == "success"
    assert step.inlets == [another, tickets]
    assert (told["step", "data"][0] if more else told["step", "return_value"])["rows"] == 24


def queued(dag_id):
    """Whether Airflow is to run a DAG because of an asset."""
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return session.execute(select(AssetDagRunQueue).where(AssetDagRunQueue.target_dag_id == dag_id)).all() != []


@pytest.mark.parametrize(
    ("dag_id", "given", "mapped"),
    [
        ("starts_by_template", {"name": "{{ params.of }}", "params": {"of": "of-template"}}, {}),
        ("starts_by_map", {}, {"name": ["of-map", "of-map-too"]}),
    ],
)
def test_a_name_that_is_known_only_at_run_time_starts_the_dags_of_its_model(run, job_id, dag_id, given, mapped):
    from support.any_airflow import DagBag, sync_bag_to_db

    of = "of-map" if mapped else "of-template"
    bag = DagBag(dag_folder="/dev/null")
    for name in (of, "of-another"):
        with DAG(f"on_{name}", start_date=START, schedule=model_asset(name), is_paused_upon_creation=False) as started:
            EmptyOperator(task_id="start")
        bag.bag_dag(started)
    sync_bag_to_db(bag, "dags-folder", None)
    with DAG(dag_id, start_date=START, schedule=None) as dag:
        given = {"task_id": "register", "job": job_id} | given
        if mapped:
            RegisterModelOperator.partial(**given).expand(**mapped)
        else:
            RegisterModelOperator(**given)

    assert run(dag)[0] == "success"

    assert (queued(f"on_{of}"), queued("on_of-another")) == (True, False)
