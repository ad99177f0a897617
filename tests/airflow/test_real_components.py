"""On real components: what is killed, who ends what, and how many jobs there are afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from support.openai_jobs import openai_for
from support.real_airflow import Airflow
from support.service import running_service
from support.stack import free_port
from support.support_chats import chats

from airflow_tuneway.links import report_path
from tuneway import Client, JobSpec, Supervised
from tuneway.registry import ModelRecord, open_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a wait that is too long fails before, and shows the logs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SHORT = 40
"""Seconds that the DAG `short_of_time` waits."""

EXAMPLES = Path(__file__).parents[2] / "examples" / "airflow"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Training data and the model registry."""
    return tmp_path_factory.mktemp("airflow-data")


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """One service that trains, and one whose jobs never end by themselves."""
    with running_service() as trains, running_service(faults="stuck=1") as stuck:
        yield trains, stuck


@pytest.fixture(scope="module")
def airflow(services, folder):
    data = folder / "train.jsonl"
    data.write_text("\n".join(map(json.dumps, chats(24, seed=11))) + "\n")
    trains, stuck = services
    registry = {"registry": f"sqlite:///{folder / 'models.db'}"}
    patch = pytest.MonkeyPatch()
    patch.setenv("TUNEWAY_TEST_DATA", str(data))
    patch.setenv("SUPPORT_DATA", str(EXAMPLES.parent / "data"))
    connections = {
        "tuneway_default": {"conn_type": "tuneway", "host": trains.base_url, "extra": registry},
        "stuck": {"conn_type": "tuneway", "host": stuck.base_url},
        "settling": {"conn_type": "tuneway", "host": stuck.base_url, "extra": {"settle": 60}},
    }
    with Airflow.running(connections) as airflow:
        shutil.copy(Path(__file__).with_name("dags.py"), airflow.home / "dags" / "dags.py")
        yield airflow
    patch.undo()


@pytest.fixture
def registry(folder):
    return open_registry(f"sqlite:///{folder / 'models.db'}")


@pytest.fixture
def trains(services):
    with Client(base_url=services[0].base_url) as client:
        yield client


@pytest.fixture
def stuck(services):
    with Client(base_url=services[1].base_url) as client:
        yield client


def jobs_of(client, run_id):
    return list(client.jobs.list(metadata={"run": run_id}))


def deferred_on_a_job(airflow, stuck, dag_id="stuck_deferred"):
    run_id = airflow.trigger(dag_id)
    airflow.until_task(dag_id, run_id, "tune", "deferred")
    [job] = jobs_of(stuck, run_id)
    assert airflow.xcom(dag_id, run_id, "tune", "job_id") == job.id
    return run_id, job.id


def being_told(airflow, dag_id, run_id, text):
    airflow.until(lambda: text in airflow.log(dag_id, run_id, "tune"), what=lambda: airflow.log(dag_id, run_id, "tune"))


def being_waited_for(airflow, run_id, times):
    """Wait until so many triggers have waited for the job of this run."""
    airflow.until(
        lambda: airflow.log("stuck_deferred", run_id, "tune").count(" starting") >= times,
        what=lambda: airflow.log("stuck_deferred", run_id, "tune"),
    )


def told(airflow, dag_id, task_id, key):
    """What a task has left in all the runs of its DAG that it ended well in."""
    runs = [run["dag_run_id"] for run in airflow.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]]
    done = [run for run in runs if airflow.task(dag_id, run, task_id)["state"] == "success"]
    return [airflow.xcom(dag_id, run, task_id, key) for run in done]


def until_told(airflow, dag_id, ref):
    """Wait until a DAG that is scheduled on a model's asset has run for this version; gives what it was told."""

    def there():
        return [version for version in told(airflow, dag_id, "heard", "return_value") if version["ref"] == ref]

    version, *_ = airflow.until(there, what=lambda: told(airflow, dag_id, "heard", "return_value"))
    return version


def test_a_run_succeeds_deferred_and_starts_the_dag_that_waits_for_the_model(airflow, trains):
    run_id = airflow.trigger("four_in_one")

    airflow.until_task("four_in_one", run_id, "tune", "success")

    [job] = jobs_of(trains, run_id)
    assert airflow.xcom("four_in_one", run_id, "tune", "return_value")["job_id"] == job.id
    assert "The job has successfully completed" in airflow.log("four_in_one", run_id, "tune")
    airflow.until(lambda: job.id in told(airflow, "downstream", "again", "job_id"))


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

    answers = airflow.until(lambda: told(airflow, "try_new_model", "ask", "return_value"))
    assert all(answers[0].values())
    assert registry.get("support-router@champion").record.origin.pipeline == "nightly_fine_tune"


def test_airflow_lists_the_provider(airflow):
    listed = airflow.run("providers", "list", "--output", "json")

    assert "tuneway" in {provider["package_name"] for provider in json.loads(listed[listed.index("[") :])}


def test_lineage_is_told_from_the_datas_hash_to_the_model(airflow, trains, folder):
    pytest.importorskip("airflow.providers.openlineage")
    file = trains.upload(folder / "train.jsonl")
    job = trains.submit(JobSpec(model="gpt-4o-mini", training_file=file.id, method=Supervised(n_epochs=1)))
    job = trains.wait(job.id, timeout=120)
    run_id = airflow.trigger("with_lineage", job=job.id)
    airflow.until_task("with_lineage", run_id, "register", "success")

    def told():
        lines = [line for path in airflow.home.glob("lineage*") for line in path.read_text().splitlines(keepends=True)]
        events = [json.loads(line) for line in lines if line.endswith("\n")]  # another may be half written
        return [event for event in events if event["eventType"] == "COMPLETE" and event["outputs"]]

    [event] = airflow.until(told)
    assert event["job"]["name"] == "with_lineage.register"
    assert [data["name"] for data in event["inputs"]] == [sha256((folder / "train.jsonl").read_bytes()).hexdigest()]
    assert [model["name"] for model in event["outputs"]] == [job.fine_tuned_model]
    assert event["run"]["facets"]["externalQuery"]["externalQueryId"] == job.id


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


def test_the_report_of_a_tasks_job_is_shown_beside_it(airflow, trains):
    run_id = airflow.trigger("four_in_one")
    airflow.until_task("four_in_one", run_id, "tune", "success")
    [job] = jobs_of(trains, run_id)

    page = airflow.page(report_path(SimpleNamespace(dag_id="four_in_one", run_id=run_id, task_id="tune", map_index=-1)))

    assert airflow.xcom("four_in_one", run_id, "tune", "job_url").endswith(f"/jobs/{job.id}")
    assert page.status_code == 200
    assert job.id in page.text
    assert "<svg" in page.text
    [plugin] = [one for one in airflow.api("GET", "/plugins")["plugins"] if one["name"] == "tuneway"]
    assert {view["name"]: view["destination"] for view in plugin["external_views"]} == {"Fine-tuning": "task_instance"}
    assert airflow.api("GET", "/plugins/importErrors")["import_errors"] == []


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_the_tab_with_the_report_is_there_in_a_browser(airflow, tmp_path):
    run_id = airflow.trigger("four_in_one")
    airflow.until_task("four_in_one", run_id, "tune", "success")
    tab = f"{airflow.url}/dags/four_in_one/runs/{quote(run_id)}/tasks/tune/plugin/fine-tuning"

    def shown():
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
        command = [CHROMIUM, *options, "--window-size=1400,1000", "--virtual-time-budget=30000", "--dump-dom", tab]
        page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
        return page if "/tuneway/report/" in page else None

    page = airflow.until(shown)
    assert "Fine-tuning" in page


def test_a_worker_killed_between_submitting_and_deferring_leaves_one_job(airflow, trains):
    run_id = airflow.trigger("killed")

    task = airflow.until_task("killed", run_id, "tune", "success")

    assert task["try_number"] >= 2
    [job] = jobs_of(trains, run_id)
    assert airflow.xcom("killed", run_id, "tune", "job_id") == job.id


def test_a_clear_after_success_adopts_the_job(airflow, trains):
    run_id = airflow.trigger("four_in_one")
    first = airflow.until_task("four_in_one", run_id, "tune", "success")
    airflow.until_run("four_in_one", run_id, "success")

    airflow.clear("four_in_one", run_id, "tune")
    airflow.until_task("four_in_one", run_id, "tune", "success", tries=first["try_number"] + 1)

    assert len(jobs_of(trains, run_id)) == 1


def test_a_clear_makes_a_new_job_where_nothing_is_reused(airflow, trains):
    run_id = airflow.trigger("never_reused")
    first = airflow.until_task("never_reused", run_id, "tune", "success")
    airflow.until_run("never_reused", run_id, "success")
    assert len(jobs_of(trains, run_id)) == 1

    airflow.clear("never_reused", run_id, "tune")
    airflow.until(lambda: airflow.task("never_reused", run_id, "tune")["try_number"] > first["try_number"])
    airflow.until_task("never_reused", run_id, "tune", "success")

    assert len(jobs_of(trains, run_id)) == 2


def test_a_triggerer_killed_in_the_middle_goes_on_with_the_same_job_and_tells_nothing_twice(airflow, stuck):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    being_told(airflow, "stuck_deferred", run_id, "Validating training file")

    airflow.kill("triggerer")
    airflow.start("triggerer")

    being_waited_for(airflow, run_id, times=2)
    stuck.cancel(job_id)
    airflow.until_task("stuck_deferred", run_id, "tune", "failed")
    told = airflow.log("stuck_deferred", run_id, "tune")
    assert told.count("Validating training file") == 1
    assert [job.id for job in jobs_of(stuck, run_id)] == [job_id]


def test_a_triggerer_that_is_killed_and_comes_back_renews_no_deadline(airflow, stuck):
    run_id = airflow.trigger("short_of_time")
    airflow.until_task("short_of_time", run_id, "tune", "deferred")
    being_told(airflow, "short_of_time", run_id, "Validating training file")

    airflow.kill("triggerer")
    time.sleep(SHORT)  # whenever the wait began, its time is up now
    airflow.start("triggerer")
    airflow.until_task("short_of_time", run_id, "tune", "failed")

    lines = airflow.lines("short_of_time", run_id, "tune")
    first, *_, again = [at for at, text in lines if " starting" in text]
    [end] = [at for at, text in lines if "Trigger fired event" in text]
    assert (again - first).total_seconds() > SHORT
    assert (end - again).total_seconds() < SHORT / 2  # at its first look, not after another so many seconds
    assert "didn't end before the deadline" in airflow.log("short_of_time", run_id, "tune")
    [job] = jobs_of(stuck, run_id)
    assert not job.done


def test_a_trigger_that_moves_to_another_triggerer_leaves_the_job_alive(airflow, stuck):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    being_told(airflow, "stuck_deferred", run_id, "Validating training file")

    airflow.send("triggerer", signal.SIGSTOP)  # it looks dead
    airflow.start("triggerer", name="other-triggerer")
    being_waited_for(airflow, run_id, times=2)
    airflow.send("triggerer", signal.SIGCONT)  # it comes back, and finds that its trigger is somebody else's

    being_told(airflow, "stuck_deferred", run_id, "The task goes on elsewhere")
    assert stuck.jobs.retrieve(job_id).status == "validating_files"
    airflow.kill("other-triggerer", signal.SIGTERM)


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_is_ended_while_deferred_takes_its_job_along(airflow, stuck, state):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    being_told(airflow, "stuck_deferred", run_id, "Validating training file")

    airflow.set_state("stuck_deferred", run_id, "tune", state)

    airflow.until(lambda: stuck.jobs.retrieve(job_id).status == "cancelled")


def test_a_task_marked_failed_while_it_submits_takes_its_job_along(airflow, stuck):
    run_id = airflow.trigger("stuck_in_its_settle_window")
    being_told(airflow, "stuck_in_its_settle_window", run_id, "created ftjob-")
    [job] = jobs_of(stuck, run_id)

    airflow.set_state("stuck_in_its_settle_window", run_id, "tune", "failed")

    airflow.until(lambda: stuck.jobs.retrieve(job.id).status == "cancelled")


def test_a_task_marked_failed_on_a_worker_takes_its_job_along(airflow, stuck):
    run_id = airflow.trigger("stuck_on_a_worker")
    being_told(airflow, "stuck_on_a_worker", run_id, "Validating training file")
    [job] = jobs_of(stuck, run_id)

    airflow.set_state("stuck_on_a_worker", run_id, "tune", "failed")

    airflow.until(lambda: stuck.jobs.retrieve(job.id).status == "cancelled")


def test_a_task_cleared_while_deferred_adopts_its_job(airflow, stuck):
    run_id, job_id = deferred_on_a_job(airflow, stuck)
    being_told(airflow, "stuck_deferred", run_id, "Validating training file")

    airflow.clear("stuck_deferred", run_id, "tune")
    airflow.until_task("stuck_deferred", run_id, "tune", "deferred", tries=2)

    assert [(job.id, job.done) for job in jobs_of(stuck, run_id)] == [(job_id, False)]
