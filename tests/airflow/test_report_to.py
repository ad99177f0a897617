"""The report of a training, written where the workers can reach it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from support.any_airflow import DagSerialization

from airflow_tuneway._compat import AirflowFailException
from airflow_tuneway.operators import FineTuneOperator, WaitForFineTuningJobOperator
from tuneway.errors import InvalidSpec

TUNE = {"task_id": "tune", "model": "gpt-4o-mini", "method": {"type": "supervised", "n_epochs": 1}}


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_report_is_written_where_it_is_asked_for(run, service, data, tmp_path, deferrable):
    with DAG("reports", schedule=None) as dag:
        tune = FineTuneOperator(
            **TUNE, training_data=str(data), report_to=f"{tmp_path}/{{job_id}}.html", deferrable=deferrable, timeout=60
        )
        WaitForFineTuningJobOperator(
            task_id="wait", job=tune.output, report_to="{{ params.to }}/{job_id}.svg", params={"to": str(tmp_path)}
        )

    state, told = run(dag)

    assert state == "success"
    job_id = told["tune", "job_id"]
    assert (tmp_path / f"{job_id}.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / f"{job_id}.svg").read_text().startswith("<svg")


def test_a_report_that_can_not_be_written_is_told_and_fails_nothing(run, service, data, tmp_path, capsys):
    with DAG("no_report", schedule=None) as dag:
        FineTuneOperator(
            **TUNE, training_data=str(data), report_to=tmp_path / "nowhere" / "page.html", deferrable=False, timeout=60
        )

    assert run(dag)[0] == "success"

    assert "There is no report: " in capsys.readouterr().out


@pytest.mark.parametrize("given", ["report.pdf", Path("report.pdf"), 7])
def test_a_place_that_is_none_is_refused_when_the_dag_file_is_parsed(given):
    with pytest.raises(InvalidSpec) as caught:
        FineTuneOperator(**TUNE, training_data="t.jsonl", report_to=given)
    assert caught.value.field == "report_to"


@pytest.mark.parametrize("kind", [FineTuneOperator, WaitForFineTuningJobOperator])
def test_a_template_that_becomes_no_place_is_refused_before_anything_is_sent(data, monkeypatch, kind):
    nobody = {"conn_type": "tuneway", "host": "http://127.0.0.1:9"}
    monkeypatch.setenv("AIRFLOW_CONN_TUNEWAY_DEFAULT", json.dumps(nobody))
    given = {**TUNE, "training_data": str(data)} if kind is FineTuneOperator else {"task_id": "w", "job": "ftjob-1"}
    operator = kind(**given, report_to="{{ params.to }}")
    operator.report_to = "report.pdf"  # as Airflow renders it
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=0, xcom_push=lambda **_: None)

    with pytest.raises(AirflowFailException, match=r"report\.pdf doesn't end in"):
        operator.execute({"ti": ti})


def test_a_report_of_a_job_that_is_not_waited_for_is_refused():
    with pytest.raises(InvalidSpec, match="a report can't be written before its job has ended"):
        FineTuneOperator(**TUNE, training_data="t.jsonl", report_to="report.html", wait_for_completion=False)


def test_a_secret_in_the_address_of_a_report_is_not_stored():
    with DAG("secret_place", schedule=None) as dag:
        operator = FineTuneOperator(**TUNE, training_data="t.jsonl", report_to="s3://key:hidden@reports/page.html")

    assert "s3://reports/page.html" in str(operator.report_to)
    assert "hidden" not in str(DagSerialization.to_dict(dag)) + str(operator.report_to)
