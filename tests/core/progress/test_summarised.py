"""Logs in which each line costs something get few of a training's steps."""

from __future__ import annotations

import pytest

from tuneway.models import Event
from tuneway.progress import Finished, Logged, News, Summarised


def step(number: int, **metrics: float) -> Logged:
    told = {"message": f"Step {number}", "created_at": 1000 + number, "data": {"step": number, **metrics}}
    event = Event.model_validate({"id": f"e{number}", "type": "metrics", "level": "info"} | told)
    return Logged("ftjob-1", event, "token")


@pytest.fixture
def passed() -> list[News]:
    return []


def test_the_first_step_the_last_one_and_one_in_so_many_seconds_are_passed_on(passed: list[News]) -> None:
    listener = Summarised(passed.append)
    for number in range(100):
        listener(step(number, train_loss=1.0, **({"full_valid_loss": 2.0} if number == 10 else {})))
    listener(Finished("ftjob-1", None, None))
    told = [str(news).split(": ")[1] for news in passed]
    assert told == ["Step 0", "Step 10", "Step 40", "Step 70", "Step 99", "succeeded, no model"]
    assert listener.last == "ftjob-1: Step 99"


def test_with_no_seconds_between_them_all_steps_are_passed_on(passed: list[News]) -> None:
    listener = Summarised(passed.append, seconds=0)
    for number in range(5):
        listener(step(number, train_loss=1.0))
    assert len(passed) == 5


def test_what_the_listener_gives_is_given_on_so_that_it_can_be_awaited() -> None:
    assert Summarised(lambda _news: "awaitable")(Finished("ftjob-1", None, None)) == "awaitable"
