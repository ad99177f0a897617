"""A connection of Airflow's own OpenAI provider leads us where it leads that provider."""

from __future__ import annotations

import json

import httpx
import pytest
from airflow.sdk import DAG

from airflow_tuneway.hooks import FineTuningHook
from airflow_tuneway.operators import CreateFineTuningJobOperator, UploadTrainingFileOperator
from tuneway.errors import InvalidInput

httpx2 = pytest.importorskip("httpx2")
OpenAIHook = pytest.importorskip("airflow.providers.openai.hooks.openai").OpenAIHook

WHOSE = ("openai-organization", "openai-project")
ELSEWHERE = {"api_key": "k2", "base_url": "http://127.0.0.1:9/v1", "organization": "org-2", "project": "proj_2"}


@pytest.mark.parametrize(
    "connection",
    [
        {"password": "k1"},
        {"password": "k1", "host": "http://127.0.0.1:8/v1"},
        {"extra": {"openai_client_kwargs": ELSEWHERE}},
        {"password": "k1", "host": "http://127.0.0.1:8/v1", "extra": {"openai_client_kwargs": ELSEWHERE}},
        {"password": "k1", "extra": {"openai_client_kwargs": {"organization": "org-1", "max_retries": 7}}},
        {"password": "k1", "extra": {"auth_type": "api_key"}},
    ],
)
def test_both_hooks_send_the_same_requests(monkeypatch, connection):
    monkeypatch.setenv("AIRFLOW_CONN_SHARED", json.dumps({"conn_type": "openai"} | connection))
    sent = []

    def listen_in(library):
        def answer(_transport, request):
            sent.append((str(request.url), *map(request.headers.get, ("authorization", *WHOSE))))
            body = library.ByteStream(b'{"object": "list", "data": [], "has_more": false}')
            return library.Response(200, headers={"content-type": "application/json"}, stream=body)

        monkeypatch.setattr(library.HTTPTransport, "handle_request", answer)

    listen_in(httpx)
    listen_in(httpx2)  # the openai package's own

    OpenAIHook("shared").get_conn().fine_tuning.jobs.list(limit=1)
    with FineTuningHook("shared").new_client() as client:
        list(client.jobs.list(limit=1))

    theirs, ours = sent
    assert ours == theirs
    assert theirs[1].startswith("Bearer k")


def test_a_connection_that_signs_in_without_a_key_is_refused_with_what_to_do(monkeypatch):
    extra = {"auth_type": "workload_identity", "identity_provider_id": "i", "service_account_id": "s"}
    monkeypatch.setenv("AIRFLOW_CONN_SHARED", json.dumps({"conn_type": "openai", "extra": extra}))

    with pytest.raises(InvalidInput, match="workload_identity"):
        FineTuningHook("shared").new_client()
    assert FineTuningHook("shared").test_connection()[0] is False


def test_steps_run_on_such_a_connection(run, stuck, monkeypatch, data):
    monkeypatch.setenv(
        "AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps({"conn_type": "openai", "host": stuck.base_url, "password": "k"})
    )
    with DAG("on_openai_connection", schedule=None) as dag:
        upload = UploadTrainingFileOperator(task_id="upload", training_data=str(data), conn_id="openai_default")
        CreateFineTuningJobOperator(
            task_id="create", model="gpt-4o-mini", training_file=upload.output, conn_id="openai_default"
        )

    state, told = run(dag)

    assert state == "success"
    assert told["create", "job_id"].startswith("ftjob-")
