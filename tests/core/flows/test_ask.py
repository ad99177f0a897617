"""Asking a model: for its most likely answer, wherever a model can be asked for that."""

from __future__ import annotations

from typing import Any

import pytest
from support.fake_service import FakeService, refuse
from support.quick_service import QuickService
from support.virtual_driver import VirtualDriver

from tuneway.errors import BadRequest, TunewayError
from tuneway.flows import Account, Offers, ask

HELLO = [{"role": "user", "content": "hello"}]


def asked(refusing=lambda body: None, **options) -> list[Any]:
    """The temperatures of the requests that ask a model; some get a refusal."""
    temperatures = []

    def reply(request, honest):
        temperatures.append(request.json.get("temperature", "none"))
        return refusing(request.json) or honest(request)

    flow = ask(Account(), "m", HELLO, options)
    assert VirtualDriver(QuickService(), [reply] * 3).run(flow) == "m heard hello"
    return temperatures


def test_a_model_is_asked_for_its_most_likely_answer():
    assert asked(max_tokens=3) == [0]


@pytest.mark.parametrize("temperature", [0.7, 0, None])
def test_a_temperature_that_is_given_is_sent(temperature):
    assert asked(temperature=temperature) == [temperature]


@pytest.mark.parametrize("status", [400, 422])
def test_a_model_that_takes_no_temperature_is_asked_without(status):
    def refusing(body):
        return refuse(status, "Unsupported value", param="temperature") if "temperature" in body else None

    assert asked(refusing, max_tokens=3) == [0, "none"]


def test_other_refusals_are_raised_at_once():
    calls = []

    def refusing(body):
        calls.append(body)
        return refuse(400, "No good", param="top_k" if "top_k" in body else "temperature")

    for options in ({"top_k": 3}, {"temperature": 3}):
        with pytest.raises(BadRequest):
            asked(refusing, **options)
    assert len(calls) == 2


@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize(("chat", "told"), [("after deploying", True), ("at once", False)])
def test_a_refusal_says_that_the_model_must_be_deployed_where_it_must(status, chat, told):
    account = Account(offers=Offers(chat=chat), service="little")
    driver = VirtualDriver(FakeService(), [refuse(status, "unknown model")])
    with pytest.raises(TunewayError, match="unknown model") as caught:
        driver.run(ask(account, "m", HELLO, {}))
    assert ("little answers for a tuned model only after you have deployed it" in str(caught.value)) is told
