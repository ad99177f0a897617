"""Run `examples/airflow/nightly.py` once, as `airflow dags test` does: one process, real tasks, a real database.

It is always the same DAG run that is run, so the second time is what a cleared or retried run is.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HOME = Path(os.environ["TUNEWAY_DEMO_HOME"]).resolve() / "airflow"
DAGS = Path(__file__).parents[1] / "airflow"
RUN = datetime(2026, 1, 2, 3, tzinfo=UTC)

# before Airflow is imported: it reads these once
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS.resolve()),
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW_CONN_TUNEWAY_DEFAULT": json.dumps({"conn_type": "tuneway", "host": os.environ["OPENAI_BASE_URL"]}),
}
warnings.simplefilter("ignore")

from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: E402
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db  # noqa: E402
from airflow.listeners import hookimpl  # noqa: E402
from airflow.sdk.listener import get_listener_manager  # noqa: E402
from airflow.utils.db import initdb  # noqa: E402
from telling import tell  # noqa: E402


class Steps:
    """What Airflow calls when a task starts and ends."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ARG002
        """A task starts, or goes on after it was deferred."""
        if task_instance.task_id not in self.began:
            self.began[task_instance.task_id] = time.monotonic()
            tell(step=task_instance.task_id, state="running")

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ARG002
        """A task has succeeded."""
        self._ended(task_instance, "success")

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:  # noqa: ARG002
        """A task has failed."""
        self._ended(task_instance, "failed")
        tell(note=str(error))

    def _ended(self, task_instance: Any, state: str) -> None:
        tell(
            step=task_instance.task_id,
            state=state,
            seconds=time.monotonic() - self.began.get(task_instance.task_id, time.monotonic()),
        )


def main() -> None:
    """Make the database if there is none, then run the DAG."""
    HOME.mkdir(parents=True, exist_ok=True)
    if not (HOME / "airflow.db").exists():
        tell(note="making Airflow's database, once ...")
        initdb()
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=DAGS / "nightly.py", bundle_path=DAGS, bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)
    get_listener_manager().add_listener(Steps())
    run = bag.dags["nightly_fine_tune"].test(run_after=RUN, logical_date=RUN)
    if run.state != "success":
        sys.exit(f"the DAG run's state is {run.state}")


if __name__ == "__main__":
    main()
