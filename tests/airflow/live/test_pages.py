"""What Airflow shows and tells of the provider: its pages, its list, lineage."""

from __future__ import annotations

import json
import shutil
import subprocess
from hashlib import sha256
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from support.real_airflow import jobs_of

from airflow_tuneway.links import report_path
from tuneway import JobSpec, Supervised

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


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
