"""Nebius, beside the client that its documentation uses: the `openai` package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from support.fault_server import FaultServer
from support.vendors.nebius import Nebius

from tuneway import Client, JobSpec, Supervised

HYPERPARAMETERS: dict[str, Any] = {"n_epochs": 2, "batch_size": 8, "learning_rate": 2e-5, "lora": True, "lora_r": 16}
FIELDS: dict[str, Any] = {
    "model": "meta-llama/M",
    "training_file": "file-1",
    "validation_file": "file-2",
    "suffix": "router",
    "seed": 7,
    "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Nebius, with two files."""
    with FaultServer(Nebius()) as server:
        server.service.add_file()
        server.service.add_file(filename="valid.jsonl")
        yield server


@pytest.fixture
def theirs(server: FaultServer) -> Iterator[openai.OpenAI]:
    """The package, which refuses a reply of a wrong shape."""
    with openai.OpenAI(
        base_url=server.base_url, api_key="secret", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
def ours(server: FaultServer) -> Iterator[Client]:
    """Our client."""
    with Client(base_url=server.base_url, api_key="secret", dialect="nebius") as client:
        yield client


def test_the_same_intent_has_the_same_body(server: FaultServer, theirs: openai.OpenAI, ours: Client):
    theirs.fine_tuning.jobs.create(**FIELDS, hyperparameters=HYPERPARAMETERS)  # type: ignore[arg-type]
    ours.jobs.create(JobSpec(**FIELDS, method=Supervised(hyperparameters=HYPERPARAMETERS)))
    expected, sent = server.asked("POST", "/fine_tuning/jobs")
    assert sent.json == expected.json
    assert sent.header("authorization") == expected.header("authorization")


def test_the_package_reads_what_the_fake_answers(server: FaultServer, theirs: openai.OpenAI):
    job = theirs.fine_tuning.jobs.create(**FIELDS, hyperparameters=HYPERPARAMETERS)  # type: ignore[arg-type]
    server.service.add_event(job.id, "started", data={}, type="message")
    server.service.checkpoints[job.id] = [
        {
            "id": "ftckpt_1", "object": "fine_tuning.job.checkpoint", "created_at": 1, "step_number": 10,
            "fine_tuned_model_checkpoint": "m", "fine_tuning_job_id": job.id, "metrics": {"train_loss": 0.1},
        }
    ]  # fmt: skip
    server.service.finish(job.id)
    assert (job.status, job.metadata) == ("running", None)
    assert theirs.fine_tuning.jobs.retrieve(job.id).status == "succeeded"
    assert [one.id for one in theirs.fine_tuning.jobs.list()] == [job.id]
    assert [one.message for one in theirs.fine_tuning.jobs.list_events(job.id)] == ["started"]
    assert [one.id for one in theirs.fine_tuning.jobs.checkpoints.list(job.id)] == ["ftckpt_1"]
    assert [one.filename for one in theirs.files.list()] == ["valid.jsonl", "train.jsonl"]


@pytest.mark.parametrize(
    "body",
    [
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}, "hyperparameters": {}},
        {"hyperparameters": {"learning_rate_multiplier": 2.0}},
        {"hyperparameters": {"n_epochs": "auto"}},
        {"suffix": "x" * 65},
    ],
)
def test_the_fake_refuses_what_nebius_refuses(body: dict[str, Any], theirs: openai.OpenAI):
    with pytest.raises(openai.BadRequestError):
        theirs.fine_tuning.jobs.create(model="m", training_file="file-1", **body)


def test_the_package_makes_another_job_after_a_500(server: FaultServer):
    from support.fault_server import answer

    server.fault(answer({"error": {"message": "just resubmit"}}, 500, acts=True, retry_after_ms="1"), "POST", times=2)
    with openai.OpenAI(base_url=server.base_url, api_key="secret") as client:
        client.fine_tuning.jobs.create(model="m", training_file="file-1")
    assert len(server.service.alive) == 3
