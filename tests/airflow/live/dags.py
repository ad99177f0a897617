"""The DAGs that the tests on real components run; copied into Airflow's own folder."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from airflow.sdk import DAG, AssetWatcher, task

from airflow_tuneway.assets import model_asset, version_of
from airflow_tuneway.operators import FineTuneOperator, RegisterModelOperator, WaitForFineTuningJobOperator
from airflow_tuneway.triggers import ModelVersionTrigger

DATA = os.environ["TUNEWAY_TEST_DATA"]
SHORT = 40
START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC
RETRIED = {"retries": 3, "retry_delay": timedelta(seconds=1)}
TUNE = {
    "task_id": "tune",
    "training_data": DATA,
    "model": "gpt-4o-mini",
    "method": {"type": "supervised", "n_epochs": 1},
    "metadata": {"run": "{{ run_id }}"},
}


class KilledAfterSubmitting(FineTuneOperator):
    """Its first try is killed between submitting and deferring."""

    def await_job(self, client, context, job_id):
        if context["ti"].try_number == 1:
            Path(os.environ["TUNEWAY_TEST_DATA"]).with_name("killed").write_text(job_id)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().await_job(client, context, job_id)


with DAG("four_in_one", start_date=START, schedule=None, default_args=RETRIED):
    FineTuneOperator(**TUNE, name="router", alias="champion", deferrable=True, timeout=120)

with DAG("downstream", start_date=START, schedule=model_asset("router")):
    WaitForFineTuningJobOperator(
        task_id="again",
        job="{{ (triggering_asset_events.values() | first | first).extra['job_id'] }}",
    )


@task
def heard(triggering_asset_events=None):
    """Give the version that the run was started by."""
    [event, *_] = [event for events in triggering_asset_events.values() for event in events]
    return version_of(event)


look = ModelVersionTrigger("watched", conn_id="tuneway_default", poke_interval=1)
watched = model_asset("watched", watchers=[AssetWatcher(name="new", trigger=look)])
with DAG("on_watched", start_date=START, schedule=watched):
    heard()

with DAG("on_told", start_date=START, schedule=model_asset("told")):
    heard()

with DAG("killed", start_date=START, schedule=None, default_args=RETRIED):
    KilledAfterSubmitting(**TUNE, deferrable=True, timeout=120)

with DAG("stuck_deferred", start_date=START, schedule=None, default_args=RETRIED):
    FineTuneOperator(**TUNE, conn_id="stuck", deferrable=True, timeout=3600)

with DAG("short_of_time", start_date=START, schedule=None):
    FineTuneOperator(**TUNE, conn_id="stuck", deferrable=True, timeout=SHORT)

with DAG("stuck_on_a_worker", start_date=START, schedule=None):
    FineTuneOperator(**TUNE, conn_id="stuck", deferrable=False, timeout=3600)

with DAG("stuck_in_its_settle_window", start_date=START, schedule=None):
    FineTuneOperator(**TUNE, conn_id="settling", deferrable=True, timeout=3600)

# its last interval has ended long ago, so only backfills start runs of it
with DAG("daily", start_date=START, end_date=START + timedelta(days=2), schedule="@daily", catchup=False):
    FineTuneOperator(**TUNE, conn_id="settled", wait_for_completion=False)

with DAG("never_reused", start_date=START, schedule=None, default_args=RETRIED):
    FineTuneOperator(**TUNE, reuse="never", deferrable=True, timeout=120)

with DAG("many_files", start_date=START, schedule=None):

    @task
    def files():
        """Give the training files, in the order of their names."""
        return sorted(map(str, Path(DATA).with_name("many").glob("*.jsonl")))

    of_any = {name: value for name, value in TUNE.items() if name != "training_data"}
    mapped = FineTuneOperator.partial(**of_any, conn_id="settled", wait_for_completion=False)
    mapped.expand(training_data=files())

with DAG("repeated", start_date=START, schedule=None):
    mapped = FineTuneOperator.partial(**TUNE, conn_id="settled", wait_for_completion=False)
    mapped.expand(key=["first", "second", "third"])

with DAG("with_lineage", start_date=START, schedule=None) as with_lineage:
    RegisterModelOperator(task_id="register", job="{{ dag_run.conf['job'] }}", name="told-of")
if find_spec("airflow.providers.openlineage"):
    from airflow.providers.openlineage.utils.selective_enable import enable_lineage

    enable_lineage(with_lineage)
