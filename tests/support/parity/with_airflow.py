"""The Airflow provider: a DAG of the five steps, as `airflow dags test` runs it, in a database that stays.

The same run is the same DAG with the same logical date: Airflow clears it, and gives it the same name.
"""

from __future__ import annotations

import json
import os
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: E402
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db  # noqa: E402
from airflow.listeners import hookimpl  # noqa: E402
from airflow.sdk import DAG  # noqa: E402
from airflow.sdk.exceptions import AirflowFailException  # noqa: E402
from airflow.sdk.listener import get_listener_manager  # noqa: E402
from airflow.utils.db import initdb  # noqa: E402
from support.parity.order import Order, Outcome, serve  # noqa: E402

from airflow_tuneway.operators import (  # noqa: E402
    CreateFineTuningJobOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    ValidateTrainingDataOperator,
    WaitForFineTuningJobOperator,
)

HOME = Path(os.environ["AIRFLOW_HOME"])
DAGS = HOME / "dags"
START = datetime(2026, 1, 1, tzinfo=UTC)

errors: list[BaseException] = []
refs: list[str] = []


class Ends:
    """What Airflow calls when a task ends."""

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        """A task has failed: what its log says last."""
        errors.append(error)

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        """A task has succeeded."""
        if task_instance.task_id == "register":
            refs.append(task_instance.xcom_pull(task_ids="register", key="ref"))


def dag_of(order: Order) -> DAG:
    """The steps, each handing its output to the next."""
    training = {name: value for name, value in order.spec.items() if name != "model"}
    with DAG(order.pipeline, start_date=START, schedule=None) as dag:
        check = ValidateTrainingDataOperator(
            task_id="validate", path=order.train, validation_file=order.valid, model=order.model
        )
        train = UploadTrainingFileOperator(task_id="upload", path=order.train)
        valid = UploadTrainingFileOperator(task_id="upload_valid", path=order.valid) if order.valid else None
        create = CreateFineTuningJobOperator(
            task_id="create",
            model=order.model,
            training_file=train.output,
            validation_file=valid.output if valid else None,
            reuse=order.reuse,
            **training,
        )
        wait = WaitForFineTuningJobOperator(
            task_id="wait", job=create.output, deferrable=not order.stoppable, timeout=order.timeout
        )
        RegisterModelOperator(
            task_id="register",
            job=wait.output,
            data=check.output,
            name=order.name,
            alias=order.alias,
            checkpoint=order.checkpoint,
            gates=order.gates,
        )
        check >> train
        if valid:
            train >> valid
    return dag


def run(order: Order) -> Outcome:
    """Run the DAG."""
    errors.clear()
    refs.clear()
    connection = {
        "conn_type": "tuneway",
        "host": order.base_url,
        "extra": {"registry": order.registry, "settle": order.settle},
    }
    os.environ["AIRFLOW_CONN_TUNEWAY_DEFAULT"] = json.dumps(connection)
    dag = dag_of(order)
    bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS, bundle_name="dags-folder")
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    when = START.replace(day=order.run)
    state = str(dag.test(run_after=when, logical_date=when).state)
    if state == "success":
        return Outcome(ended="succeeded", ref=refs[-1])
    error = errors[0]
    return Outcome(ended="failed", error=str(error), final=isinstance(error, AirflowFailException))


def prepare() -> None:
    """Airflow's database, once, and an ear for how tasks end."""
    get_listener_manager().add_listener(Ends())
    if not (HOME / "airflow.db").exists():
        DAGS.mkdir()
        initdb()
        DagBundlesManager().sync_bundles_to_db()


if __name__ == "__main__":
    serve(run, prepare=prepare)
