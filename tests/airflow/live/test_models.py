"""What starts a DAG when a model has a new version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.openai_jobs import openai_for
from support.real_airflow import jobs_of
from support.stack import free_port

from tuneway import JobSpec, Supervised
from tuneway.registry import ModelRecord

EXAMPLES = Path(__file__).parents[3] / "examples" / "airflow"


def until_told(airflow, dag_id, ref):
    """Wait until a DAG that is scheduled on a model's asset has run for this version; gives what it was told."""

    def there():
        return [version for version in airflow.outputs(dag_id, "heard", "return_value") if version["ref"] == ref]

    version, *_ = airflow.until(there, what=lambda: airflow.outputs(dag_id, "heard", "return_value"))
    return version


def test_a_run_succeeds_deferred_and_starts_the_dag_that_waits_for_the_model(airflow, trains):
    run_id = airflow.trigger("four_in_one")

    airflow.until_task("four_in_one", run_id, "tune", "success")

    [job] = jobs_of(trains, run_id)
    assert airflow.xcom("four_in_one", run_id, "tune", "return_value")["job_id"] == job.id
    assert "The job has successfully completed" in airflow.log("four_in_one", run_id, "tune")
    airflow.until(lambda: job.id in airflow.outputs("downstream", "again", "job_id"))


def test_a_version_registered_outside_of_airflow_starts_the_dag_that_watches_for_it(airflow, registry):
    airflow.until_known("on_watched")
    airflow.until(lambda: airflow.asset_state("watched", "tuneway_seen_watched") == 0)

    registry.register(ModelRecord(name="watched", model_id="ft:m:1", job_id="ftjob-1"))

    assert until_told(airflow, "on_watched", "watched:1")["model_id"] == "ft:m:1"

    airflow.kill("triggerer")
    registry.register(ModelRecord(name="watched", model_id="ft:m:2", job_id="ftjob-2"))
    airflow.start("triggerer")

    assert until_told(airflow, "on_watched", "watched:2")["job_id"] == "ftjob-2"


def test_the_nightly_example_starts_the_one_that_tries_the_new_model(airflow, registry):
    for example in ("nightly.py", "on_new_model.py"):
        shutil.copy(EXAMPLES / example, airflow.home / "dags" / example)
    airflow.until_known("try_new_model")
    run_id = airflow.trigger("nightly_fine_tune")

    airflow.until_run("nightly_fine_tune", run_id, "success")

    answers = airflow.until(lambda: airflow.outputs("try_new_model", "ask", "return_value"))
    assert all(answers[0].values())
    assert registry.get("support-router@champion").record.origin.pipeline == "nightly_fine_tune"


def test_a_webhook_of_the_service_starts_the_dag_that_waits_for_the_model(airflow, services, trains, registry, folder):
    airflow.until_known("on_told")
    port = free_port()
    with openai_for(services[0]) as client:
        hook = client.webhooks.create(
            name="airflow", url=f"http://127.0.0.1:{port}/", event_types=["fine_tuning.job.succeeded"]
        )
    environment = os.environ | {
        "OPENAI_WEBHOOK_SECRET": hook.signing_secret,
        "OPENAI_BASE_URL": services[0].base_url,
        "TUNEWAY_REGISTRY_URI": registry.uri,
        "AIRFLOW_TOKEN": airflow.token,
    }
    script = [sys.executable, EXAMPLES / "webhook_receiver.py", "--name", "told", "--airflow", airflow.url]
    receiver = subprocess.Popen([*script, "--port", str(port)], env=environment)
    try:
        file = trains.upload(folder / "train.jsonl")
        spec = JobSpec(model="gpt-4o-mini", training_file=file.id, method=Supervised(n_epochs=1), suffix="told")
        job = trains.submit(spec)  # nobody else's: what was adopted has ended before, and nothing is sent

        assert until_told(airflow, "on_told", "told:1")["job_id"] == job.id
    finally:
        receiver.terminate()
        receiver.wait()
