"""Nebius: what a create becomes there, what is refused before, and how a job is found again by its suffix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.fault_server import FaultServer
from support.vendors.nebius import Nebius

from tuneway import DPO, InvalidSpec, JobSpec, Requester, Supervised
from tuneway.dialects import DIALECTS, NEBIUS, guess
from tuneway.dialects.nebius import create_body
from tuneway.flows import Poll, Retry
from tuneway.progress import JobAdopted, News

QUICK = {"dialect": "nebius", "poll": Poll(minimum=0.001, maximum=0.002), "settle": 0.1, "retry": Retry(first=0.001)}
JOBS = "/fine_tuning/jobs"
SPEC = JobSpec(
    model="meta-llama/M", training_file="file-1", suffix="router", seed=7,
    method=Supervised(hyperparameters={"n_epochs": 2, "learning_rate": 2e-5, "lora": True, "lora_r": 16}),
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(Nebius()) as server:
        server.service.add_file()
        yield server


@pytest.mark.parametrize(
    ("base_url", "root"),
    [
        ("https://api.tokenfactory.nebius.com", "https://api.tokenfactory.nebius.com/v1"),
        ("https://api.tokenfactory.nebius.com/v1", "https://api.tokenfactory.nebius.com/v1"),
        ("https://api.tokenfactory.us-central1.nebius.com/v1", "https://api.tokenfactory.us-central1.nebius.com/v1"),
        ("https://api.studio.nebius.ai/v1", "https://api.studio.nebius.ai/v1"),
    ],
)
def test_an_address_of_nebius_is_recognised_and_completed(base_url, root):
    assert guess(DIALECTS, base_url, None) is NEBIUS
    assert NEBIUS.root(base_url) == root


@pytest.mark.parametrize("host", ["nebius.com", "nebius.com.example.org", "tokenfactory-nebius.com", "api.openai.com"])
def test_another_address_is_not_nebius(host):
    assert guess(DIALECTS, f"https://{host}/v1", None) is not NEBIUS


def test_the_key_comes_from_nebius_own_variable_only(monkeypatch):
    from tuneway import Client

    monkeypatch.setenv("OPENAI_API_KEY", "of-another-service")
    monkeypatch.delenv("NEBIUS_API_KEY", raising=False)
    with pytest.raises(InvalidSpec) as caught:
        Client(base_url="https://api.tokenfactory.nebius.com/v1")
    assert "NEBIUS_API_KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"model": "m"}, {"model": "m"}),
        ({"method": {"type": "supervised"}}, {}),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}}}, {}),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "lora": False}}}},
            {"hyperparameters": {"n_epochs": 2, "lora": False}},
        ),
        ({"hyperparameters": {"packing": True}}, {"hyperparameters": {"packing": True}}),
        ({"hyperparameters": {"learning_rate_multiplier": "auto", "learning_rate": 2e-5}},
         {"hyperparameters": {"learning_rate": 2e-5}}),
    ],
)  # fmt: skip
def test_hyperparameters_stand_at_the_top_of_the_body_and_method_is_not_sent(body, sent):
    assert create_body(body) == sent


def test_a_create_is_sent_in_nebius_format(connect, server):
    with connect(base_url=server.base_url, **QUICK) as client:
        job = client.jobs.create(SPEC)
    (arrival,) = server.asked("POST", JOBS)
    assert arrival.json == {
        "model": "meta-llama/M", "training_file": "file-1", "suffix": "router", "seed": 7,
        "hyperparameters": {"n_epochs": 2, "learning_rate": 2e-5, "lora": True, "lora_r": 16},
    }  # fmt: skip
    assert job.resolved == {"n_epochs": 2, "batch_size": 8, "learning_rate": 2e-5, "lora": True, "lora_r": 16}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"method": Supervised(learning_rate_multiplier=2.0)}, "learning_rate_multiplier"),
    ({"hyperparameters": {"learning_rate_multiplier": 2e-5}}, "learning_rate_multiplier"),
    ({"method": DPO(beta=0.1)}, "method"),
    ({"metadata": {"team": "a"}}, "metadata"),
    ({"suffix": "x" * 32}, "suffix"),
    ({"method": Supervised(n_epochs=2), "hyperparameters": {"n_epochs": 3}}, "hyperparameters"),
    ({"extra_body": {"method": {"type": "supervised", "supervised": {"packing": True}}}}, "method"),
]


@pytest.mark.parametrize(("fields", "field"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_nebius_does_not_offer_is_refused_before_anything_is_sent(fields, field, connect, server):
    spec = JobSpec(model="m", training_file="file-1", **fields)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(InvalidSpec, match=field) as caught:
        client.submit(spec, key="nightly")
    assert caught.value.field == field
    assert "nebius" in str(caught.value)
    assert server.arrived == []


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_job_that_can_not_be_paused_is_not_asked_to(action, connect, server):
    refused = pytest.raises(InvalidSpec, match=f"nebius can't {action}")
    with connect(base_url=server.base_url, **QUICK) as client, refused:
        getattr(client, action)("ftjob-1")
    assert server.arrived == []


def test_a_second_process_adopts_the_job_by_its_suffix(connect, server):
    told: list[News] = []
    with connect(base_url=server.base_url, **QUICK) as client:
        first = client.submit(SPEC, key="nightly")
    with connect(base_url=server.base_url, **QUICK) as client:
        again = client.submit(SPEC, key="nightly", on_event=told.append)
    assert again.id == first.id
    assert any(isinstance(news, JobAdopted) for news in told)
    assert len(server.asked("POST", JOBS)) == 1
    assert server.service.jobs[0]["suffix"].startswith("router-")


def test_other_work_and_another_requester_get_jobs_of_their_own(connect, server):
    with connect(base_url=server.base_url, **QUICK) as client:
        ids = {
            client.submit(SPEC, key="nightly").id,
            client.submit(SPEC, key="weekly").id,
            client.submit(SPEC.model_copy(update={"seed": 8}), key="nightly").id,
            client.submit(SPEC, requester=Requester(pipeline="p", run="r", step="s")).id,
        }
    assert len(ids) == 4
