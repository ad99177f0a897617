"""Together AI: what a create becomes there, what is refused before, and how its replies are read."""

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

from tuneway import DPO, Client, InvalidSpec, JobFailed, JobSpec, Recipe, Reinforcement, Supervised
from tuneway.dialects import DIALECTS, TOGETHER, guess
from tuneway.dialects.together._create import create_body
from tuneway.errors import BadReply, BadRequest, OverBudget
from tuneway.flows import Poll, Retry
from tuneway.outcome import cost_of
from tuneway.registry import Cost

KEY = "a-key-of-together-that-nobody-may-see"
QUICK: dict[str, Any] = {
    "dialect": "together",
    "api_key": KEY,
    "poll": Poll(minimum=0.001, maximum=0.002),
    "settle": 0.1,
    "retry": Retry(first=0.001),
}
JOBS = "/fine-tunes"
LIMITS = FakeTogether().models[MODEL]
WANDB = {"type": "wandb", "wandb": {"project": "p"}}


@pytest.fixture
def service() -> FakeTogether:
    return FakeTogether(clock=time.time)


@pytest.fixture
def server(service: FakeTogether) -> Iterator[FaultServer]:
    with FaultServer(service) as server, storage_of(service):
        yield server


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return written(tmp_path / "train.jsonl")


def written(path: Path, **more: Any) -> Path:
    """Twelve rows of chat, with further keys."""
    path.write_text("".join(json.dumps(_chat(number) | more) + "\n" for number in range(12)))
    return path


def _chat(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "!"}]}


# --- which service this is ---


@pytest.mark.parametrize(
    ("base_url", "root"),
    [
        ("https://api.together.ai", "https://api.together.ai/v1"),
        ("https://api.together.ai/v1", "https://api.together.ai/v1"),
        ("https://api.together.xyz/v1", "https://api.together.xyz/v1"),
    ],
)
def test_an_address_of_together_is_recognised_and_completed(base_url, root):
    assert guess(DIALECTS, base_url, None) is TOGETHER
    assert TOGETHER.root(base_url) == root


@pytest.mark.parametrize("host", ["together.ai.example.org", "nottogether.ai", "api.openai.com"])
def test_another_address_is_not_together(host):
    assert guess(DIALECTS, f"https://{host}/v1", None) is not TOGETHER


def test_the_key_comes_from_togethers_own_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "of-another-service")
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    with pytest.raises(InvalidSpec) as caught:
        Client(base_url="https://api.together.ai/v1")
    assert "TOGETHER_API_KEY" in str(caught.value)


# --- creates ---


def test_every_field_is_sent_since_the_service_has_no_defaults():
    body = create_body({"model": MODEL, "training_file": "file-1"}, LIMITS)
    assert body == {
        "model": MODEL,
        "training_file": "file-1",
        "validation_file": "",
        "n_epochs": 1,
        "n_evals": 0,
        "n_checkpoints": 1,
        "batch_size": 32,
        "learning_rate": 1e-5,
        "lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": {"min_lr_ratio": 0.0, "num_cycles": 0.5}},
        "warmup_ratio": 0.0,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "packing": True,
        "early_stopping_enabled": False,
        "training_method": {"method": "sft", "train_on_inputs": "auto"},
        "training_type": {
            "type": "Lora",
            "lora_r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.0,
            "lora_trainable_modules": "k_proj,o_proj,q_proj,v_proj",
        },
    }


FULL = LIMITS | {"full_training": {"max_batch_size": 24, "max_batch_size_dpo": 12, "min_batch_size": 8}}


def by_name(**hyperparameters: Any) -> dict[str, Any]:
    return {"method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}


def dpo(**hyperparameters: Any) -> dict[str, Any]:
    return {"method": {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"validation_file": "file-2"}, {"validation_file": "file-2", "n_evals": 1}),
        ({"validation_file": "file-2"} | by_name(n_evals=5), {"n_evals": 5}),
        ({"seed": 7, "suffix": "mine"}, {"random_seed": 7, "suffix": "mine"}),
        (by_name(n_epochs="auto", batch_size="auto"), {"n_epochs": 1, "batch_size": 32}),
        (
            by_name(n_epochs=3, batch_size=16, learning_rate=2e-5),
            {"n_epochs": 3, "batch_size": 16, "learning_rate": 2e-5},
        ),
        ({"hyperparameters": {"n_epochs": 3}}, {"n_epochs": 3}),
        (by_name(max_seq_length=2048), {"max_seq_length": 2048}),
        (by_name(train_on_inputs=False), {"training_method": {"method": "sft", "train_on_inputs": False}}),
        (
            by_name(lr_scheduler_type="linear", min_lr_ratio=0.1),
            {"lr_scheduler": {"lr_scheduler_type": "linear", "lr_scheduler_args": {"min_lr_ratio": 0.1}}},
        ),
        (by_name(lora=False), {"training_type": {"type": "Full"}, "batch_size": 24}),
        (dpo() | {"x": 1}, {"batch_size": 16, "x": 1}),
        (
            dpo(beta=0.3, rpo_alpha=0.1),
            {
                "training_method": {
                    "method": "dpo",
                    "dpo_beta": 0.3,
                    "dpo_normalize_logratios_by_length": False,
                    "dpo_reference_free": False,
                    "rpo_alpha": 0.1,
                }
            },
        ),
        (
            dpo(simpo_gamma=0.5),
            {
                "training_method": {
                    "method": "dpo",
                    "dpo_beta": 0.1,
                    "dpo_normalize_logratios_by_length": True,
                    "dpo_reference_free": True,
                    "simpo_gamma": 0.5,
                }
            },
        ),
        ({"learning_rate": 0.5}, {"learning_rate": 0.5}),  # the service's own field, beside OpenAI's
    ],
)
def test_a_field_becomes_the_services_own(given, sent):
    body = create_body({"model": MODEL, "training_file": "file-1"} | given, FULL)
    assert {name: body[name] for name in sent} == sent


def test_a_model_of_a_job_is_trained_on_with_the_type_of_that_job():
    body = create_body({"model": "ft-1234-5:7", "training_file": "file-1"}, LIMITS)
    assert body["from_checkpoint"] == "ft-1234-5:7"
    assert not {"model", "training_type"} & body.keys()


def test_the_images_of_a_model_that_sees_are_trained_only_if_asked_for():
    limits = LIMITS | {"supports_vision": True}
    given = {"model": MODEL, "training_file": "file-1"}
    assert create_body(given, limits)["multimodal_params"] == {"train_vision": False}
    assert create_body(given | by_name(train_vision=True), limits)["multimodal_params"] == {"train_vision": True}


def test_images_of_a_model_that_sees_none_are_refused_before_anything_is_paid(connect, server, service):
    method = Supervised(hyperparameters={"train_vision": True})
    spec = JobSpec(model=MODEL, training_file=service.add_file()["id"], method=method)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(InvalidSpec, match="train_vision"):
        client.submit(spec, key="nightly")
    assert not server.asked("POST", JOBS)


def test_a_create_asks_for_the_limits_and_is_one_request(connect, server, service):
    spec = JobSpec(model=MODEL, training_file=service.add_file()["id"], seed=7, method=Supervised(n_epochs=2))
    with connect(base_url=server.base_url, **QUICK) as client:
        job = client.jobs.create(spec)
    assert [(one.method, one.path) for one in server.arrived] == [
        ("GET", "/v1/fine-tunes/models/limits"),
        ("POST", "/v1/fine-tunes"),
    ]
    assert (job.seed, job.fine_tuned_model, job.phase) == (7, None, "pending")
    assert job.resolved["n_epochs"] == 2


def test_a_model_that_can_not_be_tuned_is_told_before_anything_is_paid(connect, server, service):
    spec = JobSpec(model="nobody/nothing", training_file=service.add_file()["id"])
    with (
        connect(base_url=server.base_url, **QUICK) as client,
        pytest.raises(BadRequest, match="is not available"),
    ):
        client.jobs.create(spec)
    server.fault(answer({"message": "Model x is not available"}), "GET", f"{JOBS}/models/limits")
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(BadRequest, match="is not available"):
        client.jobs.create(spec)
    assert not server.asked("POST", JOBS)


def only_in_full(service: FakeTogether) -> str:
    """A file, for a model that has no LoRA training."""
    full = {"max_batch_size": 24, "max_batch_size_dpo": 12, "min_batch_size": 8}
    service.models[MODEL] |= {"lora_training": None, "full_training": full, "supports_full_training": True}
    return str(service.add_file()["id"])


@pytest.mark.parametrize(("method", "size"), [(Supervised, 24), (DPO, 12)])
def test_a_model_that_is_trained_only_in_full_is_trained_without_lora(method, size, connect, server, service):
    spec = JobSpec(model=MODEL, training_file=only_in_full(service), method=method(hyperparameters={"lora": False}))
    with connect(base_url=server.base_url, **QUICK) as client:
        job = client.submit(spec, key="nightly", max_usd=1000.0)
        client.jobs.create(JobSpec(model=job.id, training_file=spec.training_file, method=method()))
    first, second = (one.json for one in server.asked("POST", JOBS))
    assert (first["training_type"], first["batch_size"]) == ({"type": "Full"}, size)
    assert ("training_type" in second, second["batch_size"]) == (False, size)


@pytest.mark.parametrize("hyperparameters", [{}, {"lora_r": 8}])
def test_lora_is_refused_where_a_model_is_trained_only_in_full(hyperparameters, connect, server, service):
    method = Supervised(hyperparameters=hyperparameters)
    spec = JobSpec(model=MODEL, training_file=only_in_full(service), method=method)
    refused = pytest.raises(InvalidSpec, match="is trained only in full at together")
    with connect(base_url=server.base_url, **QUICK) as client, refused as caught:
        client.submit(spec, key="nightly")
    assert caught.value.field == "lora"
    assert "lora=False" in str(caught.value.hint)
    assert not server.asked("POST", JOBS)


def test_limits_that_can_not_be_read_are_asked_for_again(connect, server, service):
    server.fault(answer({"error": {"message": "busy"}}, 503), "GET", f"{JOBS}/models/limits")
    spec = JobSpec(model=MODEL, training_file=service.add_file()["id"])
    with connect(base_url=server.base_url, **QUICK) as client:
        client.jobs.create(spec)
    assert len(service.jobs) == len(server.asked("POST", JOBS)) == 1


def test_metrics_go_to_weights_and_biases_with_the_users_key(connect, server, service):
    integration = {"type": "wandb", "wandb": {"project": "p", "base_url": "https://wandb.example"}}
    spec = JobSpec(model=MODEL, training_file=service.add_file()["id"], integrations=[integration])
    wandb = {"wandb_api_key": "a-key-of-wandb-that-nobody-may-see"}
    with connect(base_url=server.base_url, service_options=wandb, **QUICK) as client:
        client.jobs.create(spec)
        assert wandb["wandb_api_key"] not in repr(client)
    (sent,) = server.asked("POST", JOBS)
    assert (sent.json["wandb_key"], sent.json["wandb_project_name"]) == (wandb["wandb_api_key"], "p")
    assert sent.json["wandb_base_url"] == "https://wandb.example"
    assert wandb["wandb_api_key"] not in repr(TOGETHER.configured(wandb))


def test_a_refusal_that_quotes_the_key_of_another_service_does_not_show_it(connect, server, service):
    spec = JobSpec(model=MODEL, training_file=service.add_file()["id"], integrations=[WANDB])
    secret = "a-key-of-wandb-that-nobody-may-see"
    server.fault(answer({"error": {"message": f"bad key {secret}"}}, 400), "POST", JOBS)
    options, refused = {"wandb_api_key": secret}, pytest.raises(BadRequest, match="bad key")
    with connect(base_url=server.base_url, service_options=options, **QUICK) as client, refused as caught:
        client.jobs.create(spec)
    assert secret not in f"{caught.value!r} {caught.value}"


GRADER = {"type": "string_check", "name": "g", "operation": "eq", "input": "{{sample.output_text}}", "reference": "a"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"method": Supervised(learning_rate_multiplier=2.0)}, "learning_rate_multiplier"),
    ({"hyperparameters": {"learning_rate_multiplier": 2e-5}}, "learning_rate_multiplier"),
    ({"method": Reinforcement(grader=GRADER), "validation_file": "file-2"}, "method"),
    ({"method": Supervised(hyperparameters={"beta": 0.1})}, "beta"),
    ({"method": Supervised(hyperparameters={"momentum": 0.9})}, "momentum"),
    ({"method": DPO(hyperparameters={"train_on_inputs": True})}, "train_on_inputs"),
    ({"method": Supervised(hyperparameters={"lora": False, "lora_r": 16})}, "lora_r"),
    (
        {"method": Supervised(hyperparameters={"lr_scheduler_type": "linear", "scheduler_num_cycles": 2})},
        "scheduler_num_cycles",
    ),
    (
        {"method": DPO(hyperparameters={"simpo_gamma": 1.0, "dpo_normalize_logratios_by_length": False})},
        "dpo_normalize_logratios_by_length",
    ),
    ({"method": Supervised(hyperparameters={"lora_alpha": 8.5})}, "lora_alpha"),
    ({"method": Supervised(hyperparameters={"lora_alpha": "much"})}, "lora_alpha"),
    ({"method": Supervised(n_epochs=2), "hyperparameters": {"n_epochs": 3}}, "hyperparameters"),
    ({"extra_body": {"method": {"type": "supervised", "supervised": {"packing": True}}}}, "method"),
    ({"metadata": {"team": "a"}}, "metadata"),
    ({"suffix": "x" * 24}, "suffix"),
    ({"integrations": [WANDB]}, "integrations"),
]


@pytest.mark.parametrize(("fields", "field"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_together_does_not_offer_is_refused_before_anything_is_sent(fields, field, connect, server):
    spec = JobSpec(model=MODEL, **{"training_file": "file-1"} | fields)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(InvalidSpec, match=field) as caught:
        client.submit(spec, key="nightly")
    assert caught.value.field == field
    assert "together" in str(caught.value)
    assert server.arrived == []


@pytest.mark.parametrize(
    ("integrations", "why"),
    [
        ([WANDB, WANDB], "takes one integration"),
        ([{"type": "wandb", "wandb": {"project": "p", "tags": ["t"]}}], "tags"),
        ([{"type": "wandb", "wandb": {"project": "p", "group": "g"}}], "group"),
    ],
)
def test_an_integration_that_can_not_be_said_is_refused(integrations, why, connect, server):
    spec = JobSpec(model=MODEL, training_file="file-1", integrations=integrations)
    options, refused = {"wandb_api_key": "k"}, pytest.raises(InvalidSpec, match=why)
    with connect(base_url=server.base_url, service_options=options, **QUICK) as client, refused:
        client.submit(spec, key="nightly")
    assert server.arrived == []


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_job_that_can_not_be_paused_is_not_asked_to(action, connect, server):
    refused = pytest.raises(InvalidSpec, match=f"together can't {action}")
    with connect(base_url=server.base_url, **QUICK) as client, refused:
        getattr(client, action)("ft-1")
    assert server.arrived == []


# --- what it costs ---


def test_a_budget_is_held_against_the_services_own_price_before_anything_is_paid(connect, server, service, train):
    service.usd_per_million = 10_000.0
    recipe = Recipe(model=MODEL, training_data=train, max_usd=0.5)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(OverBudget, match="together estimates"):
        client.start(recipe)
    (asked,) = server.asked("POST", f"{JOBS}/estimate-price")
    assert asked.json["training_file"] == service.files[0]["id"]
    assert asked.json["training_method"] == {"method": "sft", "train_on_inputs": "auto"}
    assert not service.jobs


def test_without_a_price_a_budget_refuses_the_training(connect, server, service, train):
    no_price = answer({"estimation_available": False, "unavailable_reason": "multimodal_dataset"})
    server.fault(no_price, "POST", f"{JOBS}/estimate-price")
    recipe = Recipe(model=MODEL, training_data=train, max_usd=100.0)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(OverBudget, match="multimodal dataset"):
        client.start(recipe)
    assert not service.jobs


def test_what_a_job_has_cost_is_what_the_service_says(connect, server, service):
    job = service.add_job(training_file=service.add_file(b"x" * 4_000_000)["id"], n_epochs=1)
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.jobs.retrieve(job["id"]).billed_usd is None
        service.finish(job["id"])
        done = client.jobs.retrieve(job["id"])
    assert cost_of(done) == Cost(amount=0.48, estimated=False)


# --- jobs ---


def test_a_list_is_newest_first_and_one_request(connect, server, service):
    made = []
    for number in range(3):
        service.clock = lambda number=number: 1_000_000.0 + number
        made.append(service.add_job()["id"])
    with connect(base_url=server.base_url, **QUICK) as client:
        listed = list(client.jobs.list(limit=2))
    assert [job.id for job in listed] == made[::-1]
    assert listed[0].created_at == 1_000_002.0
    assert len(server.arrived) == 1


@pytest.mark.parametrize("body", [{"data": None}, {"jobs": []}, [], {"data": [1]}, {"data": [{"status": "running"}]}])
def test_a_list_that_can_not_be_read_is_not_an_empty_one(body, connect, server):
    server.fault(answer(body), "GET", JOBS, times=9)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(BadReply):
        list(client.jobs.list())


def test_the_reason_of_a_failure_is_in_the_log(connect, server, service):
    job = service.add_job()
    service.add_event(job["id"], "job_error", "out of memory", level="error")
    service.finish(job["id"], "error")
    service.events[job["id"]].pop()
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(JobFailed, match="out of memory"):
        client.wait(job["id"])


def test_an_estimate_is_told_while_a_job_runs(connect, server, service):
    progress = {"estimate_available": True, "seconds_remaining": 90}
    job = service.add_job(status="running", progress=progress)
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.jobs.retrieve(job["id"]).estimated_finish == pytest.approx(time.time() + 90, abs=60)
        service.job(job["id"])["progress"]["estimate_available"] = False
        assert client.jobs.retrieve(job["id"]).estimated_finish is None


def test_a_model_has_a_name_when_it_is_there(connect, server, service):
    job = service.add_job(suffix="mine")
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.jobs.retrieve(job["id"]).fine_tuned_model is None
        service.finish(job["id"])
        done = client.wait(job["id"])
    assert done.fine_tuned_model == job["model_output_name"]
    assert done.finished_at == pytest.approx(time.time(), abs=60)


def test_a_cancel_is_a_request_and_then_a_fact(connect, server, service):
    job = service.add_job()
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.cancel(job["id"]).status == "cancel_requested"
        assert [client.jobs.retrieve(job["id"]).status for _ in range(2)] == ["cancel_requested", "cancelled"]


def test_lines_of_a_log_keep_their_ids_when_more_come(connect, server, service):
    job = service.add_job()
    for _ in range(2):
        service.add_event(job["id"], "warning", "again", level="legacy_iwarning", created_at="2026-11-30T10:00:00Z")
    with connect(base_url=server.base_url, **QUICK) as client:
        before = list(client.jobs.events(job["id"]))
        service.add_event(job["id"], "job_start", "started", created_at="2026-11-30T09:00:00Z")
        after = list(client.jobs.events(job["id"]))
    assert len({event.id for event in after}) == 4
    assert {event.id for event in before} < {event.id for event in after}
    assert {event.level for event in before if event.message == "again"} == {"warn"}
    times = [event.created_at for event in after]
    assert times == sorted(times, reverse=True)


def test_metrics_and_checkpoints_come_with_the_outcome(connect, server, service):
    job = service.add_job()
    service.metrics[job["id"]] = [
        {"global_step": 1, "train/loss": 2.5},
        {"global_step": 2, "train/loss": 1.5, "eval/loss": 2.0},
        {"train/loss": 0.0},
    ]
    service.checkpoints[job["id"]] = [
        {"checkpoint_type": "Intermediate", "created_at": "2026-11-30T10:00:00Z", "path": "s3://x", "step": 1},
        {"checkpoint_type": "Final", "created_at": "2026-11-30T11:00:00Z", "path": "s3://y", "step": 2,
         "object_id": "ml_2", "object_name": "acme/m-2"},
    ]  # fmt: skip
    service.finish(job["id"])
    with connect(base_url=server.base_url, **QUICK) as client:
        found = client.outcome(client.wait(job["id"]))
    assert found.metrics == {"train_loss": 1.5, "valid_loss": 2.0}
    assert [one.step_number for one in found.checkpoints] == [1, 2]
    assert [one.fine_tuned_model_checkpoint for one in found.checkpoints] == [f"{job['id']}:1", "acme/m-2"]
    assert found.missing == []


def test_a_job_without_metrics_has_an_empty_result_file(connect, server, service):
    job = service.add_job()
    service.finish(job["id"])
    with connect(base_url=server.base_url, **QUICK) as client:
        found = client.outcome(client.wait(job["id"]))
    assert (found.metrics, found.missing) == ({}, [])


def test_models_are_listed_and_one_is_found_in_the_list(connect, server):
    with connect(base_url=server.base_url, **QUICK) as client:
        assert [model.id for model in client.models.list()] == [MODEL]
        assert client.models.retrieve(MODEL).id == MODEL


# --- data ---


def test_a_key_that_the_service_refuses_is_refused_here_with_its_line(connect, server, tmp_path):
    path = written(tmp_path / "train.jsonl", label=1)
    with connect(base_url=server.base_url, **QUICK) as client:
        report = client.validate(path)
        assert [(one.line, one.rule, one.where) for one in report.errors[:1]] == [(1, "row.refused_key", "label")]
        with pytest.raises(ValueError, match="label"):
            client.start(Recipe(model=MODEL, training_data=path))
        with pytest.raises(ValueError, match="label"):
            client.upload(path)
    assert server.arrived == []


ANSWER = [{"role": "assistant", "content": "!"}]
PREFERENCE = {"input": {"messages": [{"role": "user", "content": "?"}]}, "preferred_output": ANSWER}
OTHER = [{"role": "assistant", "content": "?"}]


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        (_chat(1) | {"tools": []}, []),
        (_chat(1) | {"functions": [{"name": "f"}]}, ["functions"]),
        (_chat(1) | {"parallel_tool_calls": True}, ["parallel_tool_calls"]),
        ({"prompt": "a", "completion": "b"}, []),
        ({"prompt": "a", "completion": "b", "label": 1}, ["label"]),
        (PREFERENCE | {"non_preferred_output": OTHER}, []),
        (PREFERENCE | {"non_preferred_output": OTHER, "score": 1}, ["score"]),
    ],
)
def test_each_format_has_its_own_keys(row, refused, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with Client(base_url="http://127.0.0.1:1/v1", **QUICK) as client:
        report = client.validate(path)
    assert [one.where for one in report.errors if one.rule == "row.refused_key"] == refused
    assert "row.extra_key" not in report.counts


def test_another_service_takes_keys_that_its_training_ignores(tmp_path):
    path = written(tmp_path / "train.jsonl", label=1)
    with Client(base_url="http://127.0.0.1:1/v1", api_key=KEY) as client:
        assert client.validate(path).ok
