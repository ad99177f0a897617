"""Metrics, spans and lineage of steps, as Airflow's own parts hear them."""

from __future__ import annotations

from datetime import datetime

import pytest
from airflow.sdk import DAG

from airflow_tuneway.operators import FineTuneOperator, RegisterModelOperator

pytestmark = pytest.mark.usefixtures("database")

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Airflow takes it for UTC


def tuning(data, **more):
    with DAG("measured", start_date=START, schedule=None) as dag:
        FineTuneOperator(
            task_id="tune",
            training_data=str(data),
            model="gpt-4o-mini",
            method={"type": "supervised", "n_epochs": 1},
            **more,
        )
    return dag


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_step_counts_its_jobs_their_time_and_their_tokens(run, service, data, heard, deferrable):
    run(tuning(data, deferrable=deferrable))

    assert heard.counts.pop("tuneway.file.uploaded_bytes", 0) >= 0
    tokens = heard.counts.pop("tuneway.job.trained_tokens")
    assert tokens > 0
    assert heard.counts == {"tuneway.job.created": 1, "tuneway.job.ended": 1}
    assert heard.tags["tuneway.job.ended"] == {"dag_id": "measured", "task_id": "tune", "status": "succeeded"}
    assert heard.timings["tuneway.job.duration"] >= 0


def test_a_step_is_a_span_whose_events_are_what_it_did(run, service, data, monkeypatch):
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exporter = sdk.TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    run(tuning(data, deferrable=False))

    (span,) = [one for one in exporter.get_finished_spans() if one.name == "tuneway.FineTuneOperator"]
    assert span.attributes == {"airflow.dag_id": "measured", "airflow.task_id": "tune"}
    names = [event.name for event in span.events]
    assert names[-2:] == ["tuneway.created", "tuneway.ended"]
    assert span.events[-2].attributes["job_id"].startswith("ftjob-")


def test_lineage_at_the_start_names_the_data_and_no_row(tmp_path):
    pytest.importorskip("airflow.providers.openlineage")

    def inputs(**data):
        operator = FineTuneOperator(task_id="tune", model="m", **data)
        return [(one.namespace, one.name) for one in operator.get_openlineage_facets_on_start().inputs]

    both = inputs(training_data="s3://bucket/data/train.jsonl", validation_data="/data/valid.jsonl")
    assert both == [("s3://bucket", "data/train.jsonl"), ("file", "/data/valid.jsonl")]
    assert inputs(training_data="https://me:secret@host.example/t.jsonl?sig=secret", validation_data=0.1) == []
    assert inputs(training_data=[{"messages": []}]) == []
    assert (
        RegisterModelOperator(task_id="register", job="ftjob-1", name="n").get_openlineage_facets_on_start().inputs
        == []
    )
