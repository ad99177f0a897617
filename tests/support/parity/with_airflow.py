"""The Airflow provider: a DAG of the five steps, or of one that does it all.

It is run as `airflow dags test` does, in a database that stays.
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
    FineTuneOperator,
    RegisterModelOperator,
    UploadTrainingFileOperator,
    ValidateTrainingDataOperator,
    WaitForFineTuningJobOperator,
)

HOME = Path(os.environ["AIRFLOW_HOME"])
DAGS = HOME / "dags"
START = datetime(2026, 1, 1, tzinfo=UTC)

LAST = ("register", "fine_tune")
"""The last step in each form of the pipeline."""

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
        if task_instance.task_id in LAST:
            refs.append(task_instance.xcom_pull(task_ids=task_instance.task_id, key="ref"))


def dag_of(order: Order) -> DAG:
    """The pipeline as a DAG, in the order's form."""
    with DAG(order.pipeline, start_date=START, schedule=None) as dag:
        (one_step if order.form == "one" else steps)(order)
    return dag


def steps(order: Order) -> None:
    """Five steps, each handing its output to the next."""
    data = {"training_data": order.train, "validation_data": order.valid}
    check = ValidateTrainingDataOperator(task_id="validate", model=order.model, **data)
    upload = UploadTrainingFileOperator(task_id="upload", **data)
    create = CreateFineTuningJobOperator(task_id="create", training_file=upload.output, reuse=order.reuse, **order.spec)
    wait = WaitForFineTuningJobOperator(task_id="wait", job=create.output, **waiting(order))
    RegisterModelOperator(task_id="register", job=wait.output, **registration(order))
    check >> upload


def one_step(order: Order) -> None:
    """One step that does all of it."""
    FineTuneOperator(
        task_id="fine_tune",
        training_data=order.train,
        validation_data=order.valid,
        reuse=order.reuse,
        **order.spec,
        **waiting(order),
        **registration(order),
    )


def waiting(order: Order) -> dict[str, Any]:
    """How a step waits: where a signal reaches it, if a person is to stop it."""
    return {"deferrable": not order.stoppable, "timeout": order.timeout}


def registration(order: Order) -> dict[str, Any]:
    """How a step registers."""
    return {"name": order.name, "alias": order.alias, "checkpoint": order.checkpoint, "gates": order.gates}


def run(order: Order) -> Outcome:
    """Run the DAG."""
    errors.clear()
    refs.clear()
    service = order.service
    connection = {
        "conn_type": "tuneway",
        "host": service.pop("base_url"),
        "extra": {"registry": order.registry, **service},
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
