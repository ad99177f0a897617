"""Together AI's own client judges our fake, and what the dialect sends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fault_server import FaultServer, answer
from support.vendors.storage import storage_of
from support.vendors.together import MODEL, FakeTogether

from tuneway import DPO, Client, JobSpec, Supervised
from tuneway.flows import Poll, Retry

together = pytest.importorskip("together", reason="needs the group services-test")

KEY = "a-key-of-together-that-nobody-may-see"


@pytest.fixture
def service() -> FakeTogether:
    return FakeTogether(clock=time.time)


@pytest.fixture
def server(service: FakeTogether) -> Iterator[FaultServer]:
    with FaultServer(service) as server, storage_of(service):
        yield server


@pytest.fixture
def sdk(server: FaultServer) -> Any:
    """The vendor's client, which refuses a reply that isn't what its types say."""
    return together.Together(api_key=KEY, base_url=server.origin, _strict_response_validation=True)


@pytest.fixture
def train(tmp_path: Path) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "!"}]} for n in range(12)
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_sdk_uploads_a_file_and_is_given_the_same_one_for_the_same_bytes(sdk, service, train):
    sent = sdk.files.upload(train, purpose="fine-tune", check=False)
    assert [sdk.files.retrieve(sent.id).processing_status for _ in range(2)] == ["QUEUED", "COMPLETED"]
    impatient = sdk.with_options(max_retries=0)  # it repeats a 409, too
    assert impatient.files.upload(train, purpose="fine-tune", check=False).id == sent.id
    assert len(service.storage.log) == 1
    assert [file.id for file in sdk.files.list().data] == [sent.id]
    assert sdk.files.delete(sent.id).deleted


def test_the_sdk_reads_every_reply_about_a_job(sdk, service):
    service.takes_max = True
    file = service.add_file()
    job = sdk.fine_tuning.create(training_file=file["id"], model=MODEL, suffix="mine", random_seed=7)
    listed = sdk.fine_tuning.list().data[0]
    assert (listed.suffix, listed.random_seed, listed.status) == ("mine", 7, "pending")
    assert "suffix" not in sdk.fine_tuning.retrieve(job.id).model_fields_set
    service.add_event(job.id, "training_start", "Training started", step=0, total_steps=9)
    service.checkpoints[job.id] = [
        {"checkpoint_type": "Intermediate", "created_at": "2026-11-30T10:00:00Z", "path": "s3://x", "step": 5}
    ]
    service.metrics[job.id] = [{"global_step": 1, "train/loss": 2.5}]
    service.job(job.id)["progress"] = {"estimate_available": True, "seconds_remaining": 90}
    assert [event.type for event in sdk.fine_tuning.list_events(job.id).data] == ["job_pending", "training_start"]
    assert sdk.fine_tuning.list_checkpoints(job.id).data[0].step == 5
    assert sdk.fine_tuning.list_metrics(job.id).metrics == [{"global_step": 1, "train/loss": 2.5}]
    assert sdk.fine_tuning.retrieve(job.id).progress.seconds_remaining == 90
    assert sdk.fine_tuning.cancel(job.id).status == "cancel_requested"
    assert [sdk.fine_tuning.retrieve(job.id).status for _ in range(2)] == ["cancel_requested", "cancelled"]
    other = service.add_job(training_file=file["id"])
    service.finish(other["id"])
    assert sdk.fine_tuning.retrieve(other["id"]).total_price is not None
    assert sdk.fine_tuning.delete(other["id"]).message


def test_the_sdk_reads_limits_and_prices(sdk, service):
    file, raw = service.add_file(), service.add_file(processing_status="PENDING")
    limits = sdk.fine_tuning.model_limits(model_name=MODEL)
    assert limits.lora_training.max_batch_size == 32
    method = {"method": "sft", "train_on_inputs": "auto"}
    asked = {"model": MODEL, "n_epochs": 1, "n_evals": 0, "training_method": method}
    assert sdk.fine_tuning.estimate_price(training_file=file["id"], **asked).allowed_to_proceed
    price = sdk.fine_tuning.estimate_price(training_file=raw["id"], **asked)
    assert price.unavailable_reason == "train_file_not_validated"
    with pytest.raises(together.BadRequestError, match="not available for fine-tuning"):
        sdk.fine_tuning.model_limits(model_name="nobody/nothing")


@pytest.fixture
def client(server: FaultServer) -> Iterator[Client]:
    quick: dict[str, Any] = {"poll": Poll(minimum=0.001, maximum=0.002), "settle": 0.2, "retry": Retry(first=0.001)}
    wandb = {"wandb_api_key": "of-wandb"}
    with Client(base_url=server.base_url, dialect="together", api_key=KEY, service_options=wandb, **quick) as client:
        yield client


LORA = {"lora": True, "lora_trainable_modules": "k_proj,o_proj,q_proj,v_proj", "batch_size": 32}
"""What the dialect resolves from the limits; the SDK leaves some of it to the service."""

INTENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing but the data": ({}, {}),
    "a validation file": ({"validation_file": "valid"}, {"validation_file": "valid", "n_evals": 1}),
    "a seed and a suffix": ({"seed": 7, "suffix": "mine"}, {"random_seed": 7, "suffix": "mine"}),
    "hyperparameters": (
        {
            "method": Supervised(
                n_epochs=3,
                batch_size=16,
                hyperparameters={
                    "learning_rate": 2e-5,
                    "warmup_ratio": 0.1,
                    "weight_decay": 0.01,
                    "max_grad_norm": 0.5,
                    "n_checkpoints": 2,
                    "packing": False,
                    "max_seq_length": 2048,
                    "train_on_inputs": True,
                    "lr_scheduler_type": "linear",
                    "min_lr_ratio": 0.1,
                    "gradient_accumulation_steps": 2,
                },
            )
        },
        {
            "n_epochs": 3,
            "batch_size": 16,
            "learning_rate": 2e-5,
            "warmup_ratio": 0.1,
            "weight_decay": 0.01,
            "max_grad_norm": 0.5,
            "n_checkpoints": 2,
            "packing": False,
            "max_seq_length": 2048,
            "train_on_inputs": True,
            "lr_scheduler_type": "linear",
            "min_lr_ratio": 0.1,
            "gradient_accumulation_steps": 2,
        },
    ),
    "adapters": (
        {"method": Supervised(hyperparameters={"lora_r": 16, "lora_alpha": 8, "lora_dropout": 0.1})},
        {"lora_r": 16, "lora_alpha": 8, "lora_dropout": 0.1},
    ),
    "modules": (
        {"method": Supervised(hyperparameters={"lora_trainable_modules": "q_proj"})},
        {"lora_trainable_modules": "q_proj"},
    ),
    "early stopping": (
        {
            "validation_file": "valid",
            "method": Supervised(
                hyperparameters={"n_evals": 9, "early_stopping_enabled": True, "early_stopping_patience": 3}
            ),
        },
        {"validation_file": "valid", "n_evals": 9, "early_stopping_enabled": True, "early_stopping_patience": 3},
    ),
    "preferences": (
        {"method": DPO(beta=0.3)},
        {"training_method": "dpo", "dpo_beta": 0.3, "batch_size": 16},
    ),
    "SimPO": (
        {"method": DPO(beta=0.3, hyperparameters={"simpo_gamma": 0.5, "rpo_alpha": 0.1})},
        {"training_method": "dpo", "dpo_beta": 0.3, "simpo_gamma": 0.5, "rpo_alpha": 0.1, "batch_size": 16},
    ),
    "Weights & Biases": (
        {"integrations": [{"type": "wandb", "wandb": {"project": "p", "name": "n", "entity": "e", "base_url": "b"}}]},
        {
            "wandb_api_key": "of-wandb",
            "wandb_project_name": "p",
            "wandb_name": "n",
            "wandb_entity": "e",
            "wandb_base_url": "b",
        },
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), INTENTS.values(), ids=INTENTS.keys())
def test_the_same_intent_is_the_same_bodies_from_the_sdk_and_from_the_dialect(
    ours, theirs, sdk, client, server, service
):
    files = {"training_file": service.add_file()["id"], "valid": service.add_file()["id"]}
    ours, theirs = ({k: files.get(v, v) if isinstance(v, str) else v for k, v in one.items()} for one in (ours, theirs))
    sdk.fine_tuning.create(training_file=files["training_file"], model=MODEL, **LORA | theirs)
    spec = JobSpec(model=MODEL, training_file=files["training_file"], **ours)
    client.jobs.create(spec)
    theirs_sent, ours_sent = server.asked("POST", "/fine-tunes")
    assert ours_sent.json == theirs_sent.json
    client.submit(spec, key="nightly", max_usd=1.0)
    theirs_sent, ours_sent = server.asked("POST", "/fine-tunes/estimate-price")
    assert ours_sent.json == theirs_sent.json


def test_a_training_that_goes_on_from_a_job_is_the_same_bodies(sdk, client, server, service):
    file, job = service.add_file()["id"], service.add_job()
    sdk.fine_tuning.create(training_file=file, from_checkpoint=job["id"], batch_size=32)
    client.jobs.create(JobSpec(model=job["id"], training_file=file))
    theirs, ours = server.asked("POST", "/fine-tunes")
    assert ours.json == theirs.json


def test_a_full_training_is_the_same_bodies(sdk, client, server, service):
    full = {"max_batch_size": 24, "max_batch_size_dpo": 12, "min_batch_size": 8}
    service.models[MODEL] |= {"supports_full_training": True, "full_training": full, "supports_vision": True}
    file = service.add_file()["id"]
    sdk.fine_tuning.create(training_file=file, model=MODEL, lora=False, batch_size=24)
    method = Supervised(hyperparameters={"lora": False})
    client.jobs.create(JobSpec(model=MODEL, training_file=file, method=method))
    theirs, ours = server.asked("POST", "/fine-tunes")
    assert ours.json == theirs.json


def test_an_upload_is_the_same_requests(sdk, client, server, service, train, tmp_path):
    sdk.files.upload(train, purpose="fine-tune", check=False)
    asked = [(one.method, one.path) for one in server.arrived]
    (theirs,) = ({p.named("name"): p.content for p in one.parts} for one in server.asked("POST", "/files"))
    sent_by_sdk = [one.headers for one in service.storage.log]
    service.files.clear()
    service.contents.clear()
    server.forget()
    service.storage.log.clear()
    client.upload(train)
    (ours,) = ({p.named("name"): p.content for p in one.parts} for one in server.asked("POST", "/files"))
    assert {name: ours[name] for name in theirs if name != "file_name"} == {
        name: value for name, value in theirs.items() if name != "file_name"
    }
    # the list is read before, and the check's result after
    assert [(one.method, one.path) for one in server.arrived][1:3] == [
        (method, path.replace("00000001", "00000002")) for method, path in asked
    ]
    for one in (*sent_by_sdk, *(one.headers for one in service.storage.log)):
        assert "authorization" not in one


def test_a_job_of_either_is_a_job_of_the_other(sdk, client, service):
    job = sdk.fine_tuning.create(training_file=service.add_file()["id"], model=MODEL, batch_size=16, suffix="mine")
    assert client.jobs.retrieve(job.id).resolved["batch_size"] == 16
    made = client.submit(JobSpec(model=MODEL, training_file=service.files[0]["id"]), key="nightly")
    assert made.id in {one.id for one in sdk.fine_tuning.list().data}
    assert client.cancel(made.id).id == sdk.fine_tuning.cancel(made.id).id


def test_after_creates_that_end_in_500_the_sdk_leaves_three_jobs_and_the_dialect_one(sdk, client, service, server):
    """The SDK repeats a paid create, and nothing ties the repetitions together."""
    file = service.add_file()["id"]
    broken = answer({"error": {"message": "broken", "type": "server_error"}}, 500, acts=True, retry_after_ms="1")
    server.fault(broken, "POST", "/fine-tunes", times=2)
    sdk.fine_tuning.create(training_file=file, model=MODEL, batch_size=16)
    assert len(service.alive) == 3
    service.jobs.clear()
    server.fault(broken, "POST", "/fine-tunes", times=2)
    client.submit(JobSpec(model=MODEL, training_file=file), key="nightly")
    assert len(service.alive) == 1
