"""What a run leaves to be seen: artifacts, and the model as an asset."""

from __future__ import annotations

import base64
import json
import re

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.events.utilities import emit_event
from support.fault_server import FaultServer
from support.hostile_service import FORBIDDEN, HostileService
from support.markdown import addresses

import prefect_tuneway
from prefect_tuneway import _notes, create_fine_tuning_job, fine_tune, wait_for_fine_tuning_job

TRAINED = {"model": "gpt-4o-mini", "name": "router"}


def artifacts(flow_run_id):
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=mine)
    return {artifact.key.rpartition("-")[2]: artifact for artifact in found}


@pytest.fixture
def shown(server, credentials, data):
    """A run's artifacts by their last word, and its job."""
    state = fine_tune(
        training_data=str(data), model="gpt-4o-mini", name="router", credentials=credentials, return_state=True
    )
    return artifacts(state.state_details.flow_run_id), server.service.jobs[0]


def test_a_run_shows_progress_metrics_curve_and_lineage(shown, server):
    found, job = shown
    assert set(found) == {"job", "progress", "metrics", "training", "model"}
    assert (found["progress"].type, float(found["progress"].data)) == ("progress", 100.0)
    table = json.loads(found["metrics"].data)
    assert (len(table), table[-1]["step"], table[-1]["train_loss"]) == (20, 20, 0.1)
    assert list(table[0]) == [
        "step", "train_loss", "train_mean_token_accuracy", "valid_loss", "full_valid_loss", "checkpoint",
    ]  # fmt: skip
    assert (table[-1]["train_mean_token_accuracy"], table[-1]["full_valid_loss"]) == (0.5, 0.5)
    assert [row["checkpoint"] for row in table if row["checkpoint"]] == [
        f"`ft:base:org::{job['id']}:ckpt-step-{step}`" for step in (10, 20)
    ]
    assert f"{server.origin}/jobs/{job['id']}" in found["job"].data
    picture = re.search(r"data:image/svg\+xml;base64,([\w+/=]+)", found["training"].data)
    assert b"<svg" in base64.b64decode(picture[1])
    assert job["training_file"] in found["training"].data
    assert "router:1" in found["model"].data
    assert "sk-hidden" not in "".join(str(artifact.data) for artifact in found.values())


def test_progress_moves_while_the_job_runs(server, credentials, monkeypatch):
    monkeypatch.setattr(_notes, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(_notes, "SECONDS_PER_WAIT", 0.0)
    seen = []
    real = _notes.JobProgress.show
    monkeypatch.setattr(
        _notes.JobProgress, "show", lambda self, percent, text: (seen.append(percent), real(self, percent, text))
    )
    server.service.ends = None
    server.service.add_job(id="ftjob-1", status="running")
    server.service.add_event("ftjob-1", "Step 5/20", type="metrics", data={"step": 5, "total_steps": 20})

    @flow
    def nightly():
        wait = wait_for_fine_tuning_job.submit("ftjob-1", credentials=credentials)
        while not seen:
            wait.wait(0.05)
        server.service.train("ftjob-1")
        wait.result()

    nightly()
    assert (seen[0], seen[-1]) == (25.0, 100.0)
    assert seen == sorted(seen)


def test_progress_is_shown_no_more_often_than_it_pays(monkeypatch):
    from tuneway.models import Event
    from tuneway.progress import Logged

    def news(step):
        event = Event(id=f"e{step}", type="metrics", data={"step": step, "total_steps": 100})
        return Logged("ftjob-1", event, "token")

    now = [0.0]
    shown = []
    monkeypatch.setattr(_notes.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_notes, "get_client", lambda **_: shown.append(now[0]) or pytest.fail)
    waits = [_notes.JobProgress(f"ftjob-{n}") for n in range(40)]
    for tick in range(1, 61):
        now[0] = float(tick)
        waits[0].hear([news(tick)])
    for wait in waits:
        wait.leave()
    assert shown == [1.0, 11.0, 21.0, 31.0, 41.0, 51.0]


def test_a_run_succeeds_when_nothing_can_be_shown(server, credentials, data, monkeypatch, caplog):
    def refuse(*_arguments, **_options):
        raise RuntimeError("no artifacts today")

    monkeypatch.setattr(_notes, "get_client", refuse)
    assert (
        fine_tune(training_data=str(data), model="gpt-4o-mini", name="router", credentials=credentials)["ref"]
        == "router:1"
    )
    assert "no artifacts today" in caplog.text


def test_the_model_is_an_asset_with_its_data_upstream(server, credentials, data, monkeypatch):
    from prefect import context

    told = []
    monkeypatch.setattr("prefect.events.emit_event", lambda **event: told.append(event) or emit_event(**event))
    assert context
    fine_tune(**TRAINED, training_data=data, credentials=credentials)
    (made,) = [event for event in told if event["event"] == "prefect.asset.materialization.succeeded"]
    assert made["resource"]["prefect.resource.id"] == prefect_tuneway.model_asset("router").key
    assert made["payload"]["ref"] == "router:1"
    sha256 = re.search(r"sha256-(\w+)", server.service.files[0]["filename"])[1]
    assert [related["prefect.resource.id"] for related in made["related"]] == [f"tuneway://data/{sha256}"]


def test_nobody_waits_longer_because_a_service_keeps_no_checkpoints(server, credentials):
    from support.fault_server import answer

    server.service.add_file(id="file-1")
    server.fault(answer({"error": {"message": "no such thing"}}, status=404), "GET", ".*/checkpoints", times=9)

    @flow
    def nightly():
        job = create_fine_tuning_job(model="m", training_file="file-1", credentials=credentials)
        return wait_for_fine_tuning_job(job, credentials=credentials)

    assert nightly()["status"] == "succeeded"


def test_nothing_that_a_service_words_is_a_link_an_image_or_an_escape_in_the_ui(prefect, data, monkeypatch, tmp_path):
    monkeypatch.setenv("TUNEWAY_REGISTRY_URI", f"sqlite:///{tmp_path / 'hostile.db'}")
    with FaultServer(HostileService()) as server:
        credentials = prefect_tuneway.FineTuningCredentials(base_url=server.base_url, options={"settle": 0})
        state = fine_tune(
            training_data=str(data), model="gpt-4o-mini", name="router", credentials=credentials, return_state=True
        )
    assert state.is_completed()
    found = artifacts(state.state_details.flow_run_id)
    assert set(found) == {"job", "progress", "metrics", "training", "model"}
    texts = [artifact.description for artifact in found.values()]
    texts += [found["training"].data, found["model"].data]
    for row in json.loads(found["metrics"].data):
        texts += [text for text in row.values() if isinstance(text, str)]
        assert not [one for one in FORBIDDEN for name in row if one in name]
    assert any("evil.example" in text for text in texts)
    for text in texts:
        assert not [one for one in FORBIDDEN if one in text]
        assert [one for one in addresses(text) if not one.startswith("data:image/svg")] == []
    (link,) = addresses(found["job"].data)
    assert link.startswith(f"{server.origin}/jobs/ftjob-")


@pytest.mark.parametrize("job_id", ["../../x", "a/b", "a b", "?", "x" * 3000, "ftjob-1\n", "É"])
def test_the_key_of_an_artifact_is_one_that_prefect_takes_whatever_the_id_is(job_id):
    from prefect.artifacts import MarkdownArtifact

    key = _notes._key(job_id, "job")
    assert MarkdownArtifact(markdown="", key=key).key == key
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key)
    assert len(key) < 160


def test_ids_that_differ_only_in_odd_letters_have_artifacts_of_their_own():
    assert len({_notes._key(job_id, "job") for job_id in ("a/b", "a b", "a-b", "a?b")}) == 4
