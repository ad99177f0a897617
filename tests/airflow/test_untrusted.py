"""What a service words is shown in Airflow as text, and leads nowhere."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from support.hostile_service import BAD, FORBIDDEN

from airflow_tuneway._compat import AirflowFailException
from airflow_tuneway._errors import airflow_errors, as_payload, refuse
from airflow_tuneway._pages import _note
from airflow_tuneway.assets import model_asset
from airflow_tuneway.links import job_url
from tuneway.errors import BadRequest, JobFailed

TASK = SimpleNamespace(dag_id="../x", run_id="manual__2026-01-01T00:00:00+00:00?a#b", task_id="a/b", map_index=-1)


def test_an_error_of_the_service_is_a_line_that_a_log_can_show():
    with pytest.raises(AirflowFailException) as caught, airflow_errors():
        raise JobFailed(f"ftjob-1 failed: {BAD}", job_id="ftjob-1", code=BAD)
    payload = as_payload(BadRequest(BAD, status=400, code=BAD, request_id=BAD))
    with pytest.raises(AirflowFailException) as again:
        refuse(payload)
    for text in (str(caught.value), str(again.value), payload["message"]):
        assert "evil.example" in text
        assert not [one for one in FORBIDDEN if one in text]


@pytest.mark.parametrize("job_id", ["../../x", "a?b", "a#b", "//evil.example", "javascript:alert(1)", BAD])
def test_the_link_to_a_job_stays_at_its_service(job_id):
    address = urlsplit(job_url(TASK, job_id, "http://127.0.0.1:8765/v1"))
    assert (address.scheme, address.netloc, address.query, address.fragment) == ("http", "127.0.0.1:8765", "", "")
    assert address.path.startswith("/jobs/")
    assert address.path.count("/") == 2


@pytest.mark.parametrize("job_id", [".", "..", "ftjob-1"])
def test_the_link_to_a_report_names_one_task(job_id):
    path = job_url(TASK, job_id, "https://llm.example/v1")
    assert path == "/tuneway/report/..%2Fx/manual__2026-01-01T00%3A00%3A00%2B00%3A00%3Fa%23b/a%2Fb/-1"


def test_an_asset_is_named_by_one_segment():
    assert model_asset("a/../b").uri == "tuneway://models/a%2F..%2Fb"


def test_a_page_takes_an_error_for_text():
    page = bytes(_note("Title", f"<script>{BAD}</script>", status=502).body).decode()
    assert "<script>" not in page
    assert not [one for one in FORBIDDEN if one in page and one != "\u2028"]
