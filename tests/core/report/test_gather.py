"""What a service knows of a job comes together in one report, over real HTTP."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
from support.receiver import QuietHandler, serving

from tuneway.client import Client
from tuneway.errors import NotFound
from tuneway.models import MetricRow
from tuneway.report import SampleAnswer, gather, render_html

JOB = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "succeeded", "result_files": ["file-r"]}
CSV = base64.b64encode(b"step,train_loss,train_accuracy\n1,2.5,0.1\n2,1.5,0.4\n")
EVENTS = [
    {"id": "ftevent-2", "level": "warn", "type": "message", "message": "rows were cut"},
    {"id": "ftevent-1", "type": "metrics", "data": {"step": 1, "train_loss": 2.5, "full_valid_loss": 2.0}},
]
CHECKPOINTS = [{"id": "ftckpt-1", "step_number": 2, "metrics": {"full_valid_loss": 1.75}}]


@pytest.fixture
def service():
    """Answers by path; a test takes some away."""
    answers = {
        "/v1/fine_tuning/jobs/ftjob-1": json.dumps(JOB).encode(),
        "/v1/fine_tuning/jobs/ftjob-1/events": json.dumps({"data": EVENTS, "has_more": False}).encode(),
        "/v1/fine_tuning/jobs/ftjob-1/checkpoints": json.dumps({"data": CHECKPOINTS, "has_more": False}).encode(),
        "/v1/files/file-r/content": CSV,
    }

    class Handler(QuietHandler):
        def do_GET(self):  # noqa: N802 - http.server calls it so
            body = answers.get(self.path.partition("?")[0])
            if body is None:
                self.answer(404, b'{"error": {"message": "no such thing"}}')
            else:
                self.answer(200, body)

    with serving(Handler) as server:
        yield SimpleNamespace(answers=answers, server_port=server.server_port)


@pytest.fixture
def client(service):
    with Client(base_url=f"http://127.0.0.1:{service.server_port}/v1", api_key="none") as client:
        yield client


def test_metrics_log_and_checkpoints_come_together(client):
    report = gather(client, "ftjob-1", samples=[SampleAnswer(prompt="hello", tuned="greeting")])
    assert [row.train_loss for row in report.rows if isinstance(row, MetricRow)] == [2.5, 1.5]
    assert [event.id for event in report.events] == ["ftevent-1", "ftevent-2"]
    assert [checkpoint.step_number for checkpoint in report.checkpoints] == [2]
    assert report.notes == []
    page = render_html(report)
    assert "train from 2.5 at step 1 to 1.5 at step 2" in page
    assert "full validation from 2 at step 1 to 1.75 at step 2" in page
    assert "rows were cut" in page
    assert "greeting" in page


def test_what_a_service_does_not_have_is_named_in_the_report(client, service):
    del service.answers["/v1/files/file-r/content"]
    del service.answers["/v1/fine_tuning/jobs/ftjob-1/checkpoints"]
    report = gather(client, "ftjob-1")
    assert len(report.notes) == 2
    page = render_html(report)
    assert "The result file could not be read: " in page
    assert "The checkpoints could not be read: " in page
    assert "train <b>2.5</b>" in page


def test_an_unreadable_result_file_costs_the_report_nothing_else(client, service):
    service.answers["/v1/files/file-r/content"] = b"<html>maintenance</html>"
    assert "The result file could not be read" in render_html(gather(client, "ftjob-1"))


def test_a_job_without_a_result_file_is_drawn_from_its_events(client, service):
    job = {**JOB, "status": "running", "result_files": None}
    service.answers["/v1/fine_tuning/jobs/ftjob-1"] = json.dumps(job).encode()
    report = gather(client, client.jobs.retrieve("ftjob-1"))
    assert report.rows == []
    assert "train <b>2.5</b>" in render_html(report)


def test_an_unknown_job_is_an_error(client):
    with pytest.raises(NotFound):
        gather(client, "ftjob-2")
