"""DAGs whose tasks say on which Celery worker they run; copied into Airflow's own folder."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, task

from airflow_tuneway.hooks import FineTuningHook
from airflow_tuneway.operators import (
    CreateFineTuningJobOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    WaitForFineTuningJobOperator,
)

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC
ONE, TWO = ({"executor": "CeleryExecutor", "queue": queue} for queue in ("one", "two"))
SHARED = {"conn_id": "shared_registry"}


@task(**TWO)
def read():
    """Give the champion, as this worker finds it in the registry."""
    from tuneway.registry import open_registry
    from tuneway.steps import version_summary

    return version_summary(open_registry(FineTuningHook("shared_registry").registry).get("between@champion"))


with DAG("between_workers", start_date=START, schedule=None):
    upload = UploadTrainingFileOperator(task_id="upload", training_data="{{ dag_run.conf['data'] }}", **SHARED, **ONE)
    create = CreateFineTuningJobOperator(
        task_id="create",
        model="gpt-4o-mini",
        training_file=upload.output,
        method={"type": "supervised", "n_epochs": 1},
        metadata={"run": "{{ run_id }}"},
        **SHARED,
        **TWO,
    )
    wait = WaitForFineTuningJobOperator(
        task_id="wait", job=create.output, deferrable=False, timeout=120, **SHARED, **TWO
    )
    register = RegisterModelOperator(
        task_id="register", job=wait.output, name="between", alias="champion", **SHARED, **ONE
    )
    register >> read()

with DAG("at_home", start_date=START, schedule=None):
    for queue in (ONE, TWO):
        RegisterModelOperator(
            task_id=f"register_{queue['queue']}",
            job="{{ dag_run.conf['job'] }}",
            name="lonely",
            conn_id="without_registry",
            **queue,
        )
