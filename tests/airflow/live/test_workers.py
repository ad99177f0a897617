"""Celery workers that share no disk: what one of them uploads, another trains, and all see one registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.real_airflow import jobs_of
from support.support_chats import chats

from tuneway.registry import open_registry

OWN = "file of this worker alone"
HOME_REGISTRY = Path(".local", "share", "tuneway", "models.db")


@pytest.fixture(scope="module")
def between_workers(airflow, postgres, tmp_path_factory):
    """A run whose steps take turns on two workers; the second starts when the data on the first is gone."""
    if not postgres:
        pytest.skip("no PostgreSQL here, or no drivers for it")
    for needed in ("celery", "mlflow"):
        pytest.importorskip(needed)
    one, two = (tmp_path_factory.mktemp(f"home-{name}") for name in ("one", "two"))
    shutil.copy(Path(__file__).with_name("worker_dags.py"), airflow.home / "dags" / "worker_dags.py")
    data = one / "train.jsonl"
    data.write_text("\n".join(map(json.dumps, chats(24, seed=17))) + "\n")
    airflow.start_worker("one", one)
    run_id = airflow.trigger("between_workers", data=str(data))
    airflow.until_task("between_workers", run_id, "upload", "success")
    data.unlink()
    airflow.start_worker("two", two)
    airflow.until_run("between_workers", run_id, "success")
    return run_id, (one, two)


def test_upload_wait_and_register_on_workers_without_a_shared_disk_make_one_job(airflow, trains, between_workers):
    run_id, homes = between_workers

    [job] = jobs_of(trains, run_id)

    steps = {"upload": 0, "create": 1, "wait": 1, "register": 0, "read": 1}
    for step, home in steps.items():
        assert list(homes[home].glob(f"logs/dag_id=between_workers/run_id={run_id}/task_id={step}/*")), step
        assert not list(homes[1 - home].glob(f"logs/dag_id=between_workers/run_id={run_id}/task_id={step}/*")), step
    assert airflow.xcom("between_workers", run_id, "wait", "job_id") == job.id


def test_a_registry_on_postgresql_is_one_for_all_workers_and_no_task_warns_of_it(airflow, postgres, between_workers):
    run_id, homes = between_workers

    read = airflow.xcom("between_workers", run_id, "read", "return_value")

    assert read["job_id"] == airflow.xcom("between_workers", run_id, "wait", "job_id")
    assert read["ref"] == airflow.xcom("between_workers", run_id, "register", "ref") == "between:1"
    place = postgres.split("@")[1].replace("/postgres", "/mlflow")
    said = airflow.log("between_workers", run_id, "register")
    assert f"between:1 is registered in mlflow:postgresql://{place}" in said
    assert OWN not in said
    assert not any((home / HOME_REGISTRY).exists() for home in homes)


def test_a_registry_in_each_workers_home_is_warned_of_by_each(airflow, between_workers):
    run_id, homes = between_workers
    job_id = airflow.xcom("between_workers", run_id, "wait", "job_id")

    at_home = airflow.trigger("at_home", job=job_id)
    airflow.until_run("at_home", at_home, "success")

    for queue, home in zip(("one", "two"), homes, strict=True):
        assert OWN in airflow.log("at_home", at_home, f"register_{queue}")
        assert open_registry(f"sqlite:///{home / HOME_REGISTRY}").get("lonely").record.job_id == job_id
