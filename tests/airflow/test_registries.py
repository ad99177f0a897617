"""Where models are registered: who says so, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_tuneway._registries import registry_of, where_is, worker_warning
from airflow_tuneway.operators import RegisterModelOperator
from tuneway import Client, JobSpec, Supervised
from tuneway.registry import open_registry

CELERY = "CeleryExecutor"
KUBERNETES = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor"


def test_a_task_says_it_else_the_connection_else_the_configuration(monkeypatch):
    monkeypatch.setenv("AIRFLOW__TUNEWAY__REGISTRY", "sqlite:////configured.db")
    connected, plain = SimpleNamespace(registry="sqlite:////connection.db"), SimpleNamespace(registry=None)

    assert registry_of("sqlite:////task.db", connected) == "sqlite:////task.db"
    assert registry_of(None, connected) == "sqlite:////connection.db"
    assert registry_of(None, plain) == registry_of(None, None) == "sqlite:////configured.db"

    monkeypatch.delenv("AIRFLOW__TUNEWAY__REGISTRY")
    assert registry_of(None, plain) is None


@pytest.mark.parametrize("executor", [CELERY, KUBERNETES, f"LocalExecutor,{CELERY}"])
def test_a_file_of_one_worker_is_warned_of_where_tasks_run_on_several(monkeypatch, executor):
    monkeypatch.delenv("TUNEWAY_REGISTRY_URI", raising=False)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)

    for uri in (None, "sqlite:///models.db", f"sqlite:///{Path.home() / 'models.db'}"):
        assert "file of this worker alone" in worker_warning(uri)
    for uri in ("sqlite:////mnt/shared/models.db", "mlflow:https://mlflow.example"):
        assert worker_warning(uri) is None


def test_no_file_is_warned_of_where_all_tasks_run_on_one_machine(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")

    assert worker_warning(None) is None


def test_passwords_in_the_address_of_a_registry_are_not_told():
    assert where_is("mlflow:postgresql://user:secret@db.example/mlflow") == "mlflow:postgresql://db.example/mlflow"


def test_each_registration_tells_its_registry_in_the_log(run, service, database, data, monkeypatch, tmp_path, capsys):
    connection = {"conn_type": "tuneway", "host": service.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_TUNEWAY_DEFAULT", json.dumps(connection))
    uri = f"sqlite:///{tmp_path / 'configured.db'}"
    monkeypatch.setenv("AIRFLOW__TUNEWAY__REGISTRY", uri)
    with Client(base_url=service.base_url) as client:
        spec = JobSpec(model="gpt-4o-mini", training_file=client.upload(data), method=Supervised(n_epochs=1))
        job_id = client.wait(client.jobs.create(spec).id, timeout=60).id
    with DAG("registers", schedule=None) as dag:
        RegisterModelOperator(task_id="register", job=job_id, name="router")

    state, _ = run(dag)

    assert state == "success"
    assert open_registry(uri).get("router").record.job_id == job_id
    assert f"router:1 is registered in {uri}" in capsys.readouterr().out
