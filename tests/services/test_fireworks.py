"""Fireworks, beside its own client: each reads what the other is answered, and both send the same bodies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fault_server import FaultServer, answer
from support.vendors.fireworks import ACCOUNT, PREFERENCE, ROOT, SUPERVISED
from support.vendors.fireworks_client import JOBS, KEY, NIGHTLY, ROWS, SPEC, open_client, serving

from tuneway import DPO, Client, JobSpec, Supervised

fireworks = pytest.importorskip("fireworks", reason="needs the group services-test")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving() as server:
        yield server


@pytest.fixture
def theirs(server: FaultServer) -> Iterator[Any]:
    """Their client, which refuses a reply of a wrong shape."""
    with fireworks.Fireworks(
        base_url=server.base_url, api_key=KEY, account_id=ACCOUNT, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
def ours(server: FaultServer) -> Iterator[Client]:
    """Our client."""
    with open_client(server) as client:
        yield client


# --- the same bodies ---


INTENTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"model": "llama", "method": Supervised(n_epochs=3), "suffix": "router"},
        {
            "base_model": "accounts/fireworks/models/llama",
            "epochs": 3,
            "output_model": "router",
            "eval_auto_carveout": False,
        },
        SUPERVISED,
    ),
    (
        {
            "model": "accounts/fireworks/models/llama",
            "validation_file": "ds-2",
            "method": Supervised(hyperparameters={"learning_rate": 1e-4, "lora_rank": 8, "batch_size": 4}),
            "extra_body": {"maxContextLength": 4096, "nodes": 1},
        },
        {
            "base_model": "accounts/fireworks/models/llama",
            "evaluation_dataset": f"accounts/{ACCOUNT}/datasets/ds-2",
            "learning_rate": 1e-4,
            "lora_rank": 8,
            "batch_size_samples": 4,
            "max_context_length": 4096,
            "nodes": 1,
            "eval_auto_carveout": False,
        },
        SUPERVISED,
    ),
    (
        {"model": "accounts/acme/models/lora", "extra_body": {"warmStartFrom": "accounts/acme/models/lora"}},
        {"warm_start_from": "accounts/acme/models/lora", "eval_auto_carveout": False},
        SUPERVISED,
    ),
    (
        {"model": "llama", "method": DPO(beta=0.1, n_epochs=2), "suffix": "kind"},
        {
            "loss_config": {"method": "DPO", "dpo": {"beta": 0.1}},
            "training_config": {"base_model": "accounts/fireworks/models/llama", "epochs": 2, "output_model": "kind"},
        },
        PREFERENCE,
    ),
    (
        {
            "model": "llama",
            "method": DPO(n_epochs="auto", hyperparameters={"learning_rate": 1e-5}),
            "extra_body": {"trainingConfig": {"loraRank": 16}, "lossConfig": {"method": "ORPO"}},
        },
        {
            "loss_config": {"method": "ORPO"},
            "training_config": {
                "base_model": "accounts/fireworks/models/llama", "learning_rate": 1e-5, "lora_rank": 16,
            },
        },
        PREFERENCE,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ours_asks", "theirs_asks", "kind"), INTENTS)
def test_the_same_intent_has_the_same_body(
    ours_asks: dict[str, Any], theirs_asks: dict[str, Any], kind: str,
    server: FaultServer, theirs: Any, ours: Client,
) -> None:  # fmt: skip
    resource = theirs.supervised_fine_tuning_jobs if kind == SUPERVISED else theirs.dpo_jobs
    resource.create(dataset=f"accounts/{ACCOUNT}/datasets/ds-1", **theirs_asks)  # type: ignore[attr-defined]
    ours.jobs.create(JobSpec(training_file="ds-1", **ours_asks))
    expected, sent = server.asked("POST", f"{ROOT}/{kind}")
    assert sent.json == expected.json
    assert sent.query == expected.query == ""
    assert sent.header("authorization") == expected.header("authorization")


def test_a_submitted_job_has_the_name_and_shows_who_asked(server: FaultServer, theirs: Any, ours: Client) -> None:
    job = ours.submit(SPEC.model_copy(update={"suffix": "router"}), requester=NIGHTLY)
    (sent,) = server.asked("POST", JOBS)
    assert sent.query == f"supervisedFineTuningJobId={job.id}"
    assert sent.json["displayName"] == NIGHTLY.origin
    seen = theirs.supervised_fine_tuning_jobs.get(job.id)
    assert seen.name == f"accounts/{ACCOUNT}/{SUPERVISED}/{job.id}"
    assert seen.output_model.startswith("router-")
    assert len(seen.output_model) <= 63
    server.service.finish(server.service.alive[0], "JOB_STATE_FAILED")
    again = ours.submit(SPEC.model_copy(update={"suffix": "router"}), requester=NIGHTLY)
    assert theirs.supervised_fine_tuning_jobs.get(again.id).output_model != seen.output_model


def test_both_make_the_same_dataset_requests(server: FaultServer, theirs: Any, ours: Client, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(ROWS * 10)
    file = ours.upload(path)
    theirs.datasets.create(
        dataset_id="by-theirs",
        dataset={"display_name": "train.jsonl", "example_count": "10", "user_uploaded": {}, "format": "CHAT"},
    )
    theirs.datasets.upload("by-theirs", file=("by-theirs.jsonl", path.read_bytes()))
    sent, expected = server.asked("POST", f"{ROOT}/datasets")
    assert sent.json["dataset"] == expected.json["dataset"]
    sent, expected = server.asked("POST", f"{ROOT}/datasets/.*:upload")
    assert [(part.named("name"), part.content) for part in sent.parts] == [("file", path.read_bytes())]
    assert [(part.named("name"), part.content) for part in expected.parts] == [("file", path.read_bytes())]
    assert sent.path == f"{ROOT}/datasets/{file.id}:upload"


# --- their client reads what our fake answers ---


def test_their_client_reads_what_the_fake_answers(server: FaultServer, theirs: Any) -> None:
    service = server.service
    for number in range(3):
        service.add_job(id=f"s-{number}", state="JOB_STATE_RUNNING", jobProgress={"percent": 10, "epoch": 0})
    service.add_job(PREFERENCE, id="p-1", lossConfig={"method": "DPO", "dpo": {"beta": 0.1}})
    service.finish(service.jobs[SUPERVISED][0])
    service.page_cap = 2
    assert [job.name.rpartition("/")[2] for job in theirs.supervised_fine_tuning_jobs.list()] == ["s-0", "s-1", "s-2"]
    assert [job.state for job in theirs.dpo_jobs.list()] == ["JOB_STATE_CREATING"]
    assert theirs.supervised_fine_tuning_jobs.get("s-0").state == "JOB_STATE_COMPLETED"
    assert theirs.supervised_fine_tuning_jobs.cancel("s-1", body={}) == {}
    assert theirs.supervised_fine_tuning_jobs.resume("s-2", body={}).state == "JOB_STATE_RUNNING"
    theirs.supervised_fine_tuning_jobs.delete("s-2")
    assert [dataset.state for dataset in theirs.datasets.list()] == ["READY", "READY"]
    assert theirs.datasets.get_upload_endpoint("ds-1", filename_to_size={"a": "1"}).filename_to_signed_urls
    theirs.datasets.validate_upload("ds-1", body={})


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda client: client.supervised_fine_tuning_jobs.get("none"), fireworks.NotFoundError),
        (lambda client: _make(client, "job-1"), fireworks.ConflictError),
        (lambda client: _make(client, "Wrong_Name"), fireworks.BadRequestError),
        (lambda client: client.supervised_fine_tuning_jobs.cancel("job-2", body={}), fireworks.BadRequestError),
    ],
)
def test_the_fake_refuses_in_ways_that_their_client_knows(
    ask: Any, error: type[Exception], server: FaultServer, theirs: Any
) -> None:
    server.service.add_job(id="job-1")
    server.service.finish(server.service.add_job(id="job-2"))
    with pytest.raises(error):
        ask(theirs)


def _make(client: Any, job_id: str) -> object:
    return client.supervised_fine_tuning_jobs.create(
        dataset=f"accounts/{ACCOUNT}/datasets/ds-1", supervised_fine_tuning_job_id=job_id
    )


# --- the peer, in the same run ---


def test_their_client_leaves_three_jobs_where_ours_leaves_one(server: FaultServer, ours: Client) -> None:
    trouble = answer({"code": 13, "message": "in trouble"}, 500, acts=True, retry_after_ms="1")
    server.fault(trouble, "POST", JOBS, times=2)
    with fireworks.Fireworks(base_url=server.base_url, api_key=KEY, account_id=ACCOUNT) as client:
        client.supervised_fine_tuning_jobs.create(dataset=f"accounts/{ACCOUNT}/datasets/ds-1", base_model="m")
    assert len(server.service.all_jobs) == 3
    server.service.jobs[SUPERVISED].clear()
    server.fault(trouble, "POST", JOBS, times=2)
    ours.submit(SPEC, requester=NIGHTLY)
    assert len(server.service.all_jobs) == 1
