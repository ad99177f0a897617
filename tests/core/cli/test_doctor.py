"""`doctor`, and what `models --service` says of the service."""

from __future__ import annotations

import pytest
from support.console import lines_of
from support.fault_server import answer

from tuneway.cli._exits import ExitCode
from tuneway.flows import Offers

REFUSAL = {"error": {"message": "who are you", "type": "invalid_request_error", "code": "invalid_api_key"}}


def test_doctor_says_which_service_this_is_and_creates_nothing(tuneway, server, service):
    service.add_job(metadata={"tuneway_key": "k"})
    told = dict(line.split(": ", 1) for line in tuneway("doctor").stdout.splitlines())
    assert told["service"] == "openai (no other dialect knows the host 127.0.0.1)"
    assert told["address"] == server.base_url
    assert told["key"] == "accepted"
    assert told["mark"] == "kept, in the metadata of a job: ftjob-1 has Tuneway's mark"
    assert told["can be tuned"] == "the service doesn't say; it lists 1 model"
    assert told["methods"] == "dpo, reinforcement, supervised"
    assert told["learning rate"] == "as the service takes it"
    assert told["jobs"] == "pause, resume, events, checkpoints"
    assert told["fields"] == "metadata, seed, suffix of up to 64 characters, wandb"
    assert {arrival.method for arrival in server.arrived} == {"GET"}


def test_for_programs_a_diagnosis_is_one_object(tuneway):
    (told,) = lines_of(tuneway("doctor", "--json"))
    assert (told["service"], told["key"], told["marks"]) == ("openai", "accepted", "unknown")
    assert told["offers"] == Offers(rate="either").as_json()


def test_a_dialect_that_was_asked_for_is_said_so(tuneway):
    told = tuneway("doctor", "--dialect", "nebius").stdout
    assert "service: nebius (asked for; the host 127.0.0.1 doesn't say)" in told
    assert "mark: unknown, in the suffix of a job: there is no job to look at" in told
    assert "learning rate: the rate itself, no multiplier" in told
    assert "chat: after deploying a tuned model" in told


def test_the_options_that_a_service_takes_are_named(tuneway, server):
    server.fault(answer({"object": "list", "data": []}), times=2)
    assert "service options: auth: key, or entra" in tuneway("doctor", "--dialect", "azure").stdout


def test_a_key_that_is_refused_is_told_and_is_the_exit_code(tuneway, server):
    server.fault(answer(REFUSAL, 401), times=2)
    result = tuneway("doctor", code=ExitCode.NOT_ALLOWED)
    assert "key: refused" in result.stdout
    assert "can be tuned: unknown: the models can't be listed" in result.stdout
    assert "who are you" in result.stderr


def test_many_models_are_counted(tuneway, server):
    models = [{"id": f"m-{number}", "object": "model", "tunable": True} for number in range(25)]
    server.fault(answer({"object": "list", "data": models}), "GET", "/models")
    assert "m-18, m-19 and 5 more" in tuneway("doctor").stdout


@pytest.mark.parametrize("told", [[], [{"id": "m", "tunable": False}]])
def test_a_list_without_a_model_that_can_be_tuned_says_so(told, tuneway, server):
    server.fault(answer({"object": "list", "data": told}), "GET", "/models")
    expected = "none of those listed" if told else "the service doesn't say; it lists 0 models"
    assert f"can be tuned: {expected}" in tuneway("doctor").stdout


def test_the_list_of_the_services_models_says_what_the_service_offers(tuneway):
    result = tuneway("models", "--service")
    assert "methods: dpo, reinforcement, supervised" in result.stderr
    assert len(lines_of(tuneway("models", "--service", "--json"))) == 1
