"""The table of the submit protocol with names: each state with each result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.fake_service import refuse
from support.stage import Stage, name_of
from support.virtual_driver import answered_after, lost_after

from tuneway import progress
from tuneway.calls import Response
from tuneway.errors import (
    BadRequest,
    ConnectionFailed,
    ConnectionLost,
    LookupFailed,
    QuotaExhausted,
    RequestTimeout,
    ServerError,
    SubmitUncertain,
    TrainingNotAvailable,
    Unauthorized,
)
from tuneway.flows.named import NAMED_TRANSITIONS, NamedResult, NamedState

LIST = "GET /fine_tuning/jobs"
CREATE = "POST /fine_tuning/jobs"
ADOPTED, CREATED = "JobAdopted", "JobCreated"


def read(*generations: int) -> list[str]:
    """The steps of a trail that read these generations."""
    return [f"{LIST}/{name_of(number)}" for number in generations]


def trail_of(stage: Stage) -> list[str]:
    """What happened, without the pauses of random length."""
    return [step for step in stage.trail if not step.startswith("sleep")]


POSSIBLE = {
    (NamedState.LOOK, NamedResult.NOTHING),
    (NamedState.LOOK, NamedResult.SOMETHING),
    (NamedState.CREATE, NamedResult.SENT),
    (NamedState.CHECK, NamedResult.NOTHING),
    (NamedState.CHECK, NamedResult.SOMETHING),
}


def nothing_there(stage: Any) -> None:
    """No job has a name of this intent."""


def one_runs(stage: Any) -> None:
    stage.service.add_job(id=name_of(0))


def one_has_succeeded(stage: Any) -> None:
    stage.service.add_job(id=name_of(0), status="succeeded", fine_tuned_model="ft:base")


def one_is_dead(stage: Any) -> None:
    stage.service.add_job(id=name_of(0), status="failed")


def create_is_lost(stage: Any) -> None:
    stage.driver.trouble[CREATE] = [ConnectionLost("gone")]


def reply_is_lost(stage: Any) -> None:
    stage.driver.trouble[CREATE] = [lost_after(ConnectionLost("gone"))]


NEW = [LIST, *read(0, 1, 2), CREATE, CREATED, *read(1)]

REACHED = [
    ((NamedState.LOOK, NamedResult.NOTHING), nothing_there, NEW),
    (
        (NamedState.LOOK, NamedResult.NOTHING),
        one_is_dead,
        [LIST, *read(0, 1, 2, 3), CREATE, CREATED, *read(0, 2)],
    ),
    ((NamedState.LOOK, NamedResult.SOMETHING), one_runs, [LIST, *read(0, 1, 2, 3), ADOPTED]),
    ((NamedState.LOOK, NamedResult.SOMETHING), one_has_succeeded, [LIST, *read(0, 1, 2, 3), ADOPTED]),
    ((NamedState.CREATE, NamedResult.SENT), nothing_there, NEW),
    (
        (NamedState.CHECK, NamedResult.NOTHING),
        create_is_lost,
        [LIST, *read(0, 1, 2), CREATE, *read(0, 1), "Retrying", CREATE, CREATED, *read(1)],
    ),
    ((NamedState.CHECK, NamedResult.SOMETHING), reply_is_lost, [LIST, *read(0, 1, 2), CREATE, *read(0, 1), ADOPTED]),
]


@pytest.mark.parametrize(
    ("cell", "arrange", "trail"),
    REACHED,
    ids=[f"{state.name.lower()} sees {result.name.lower()}: {how.__name__}" for (state, result), how, _ in REACHED],
)
def test_each_result_leads_to_the_state_in_the_table(cell, arrange, trail, named_stage):
    arrange(named_stage)
    job = named_stage.submit()
    assert trail_of(named_stage) == trail
    assert [alive["id"] for alive in named_stage.service.alive] == [job.id]


def test_every_possible_cell_is_reached_and_no_other_exists():
    assert {cell for cell, _, _ in REACHED} == POSSIBLE
    assert {(state, result) for state, row in NAMED_TRANSITIONS.items() for result in row} == POSSIBLE


def test_done_is_absorbing():
    assert NamedState.DONE not in NAMED_TRANSITIONS


def test_nothing_is_waited_for(named_stage):
    named_stage.submit()
    named_stage.submit()
    assert named_stage.driver.slept == []


DOUBTS = [
    lost_after(ConnectionLost("gone")),
    lost_after(RequestTimeout("too slow")),
    *(answered_after(refuse(status, "in trouble")) for status in (400, 408, 409, 429, 500, 502, 503, 504, 599)),
    answered_after(Response(200, {}, b'{"id": "tw-')),
    answered_after(Response(200, {"content-type": "text/html"}, b"<html>Sign in</html>")),
]


@pytest.mark.parametrize("fault", DOUBTS)
def test_after_any_doubt_or_refusal_the_name_is_read_and_its_job_adopted(fault, named_stage):
    named_stage.driver.trouble[CREATE] = [fault] * 3
    job = named_stage.submit()
    assert job.id == name_of(0)
    assert trail_of(named_stage)[-1] == ADOPTED
    assert [made["id"] for made in named_stage.service.jobs] == [job.id]
    assert named_stage.heard(progress.JobCreated) == []


@pytest.mark.parametrize("taken", [409, 400])
def test_a_name_that_another_process_has_just_taken_is_adopted(taken, named_stage):
    named_stage.service.taken = taken

    def another_was_faster(request: Any, exchange: Callable[[Any], Any]) -> Any:
        assert exchange(request).status == 200
        return exchange(request)

    named_stage.driver.trouble[CREATE] = [another_was_faster]
    assert named_stage.submit().id == name_of(0)
    assert trail_of(named_stage) == [LIST, *read(0, 1, 2), CREATE, *read(0, 1), ADOPTED]


REFUSALS = [
    (refuse(400, "bad data"), BadRequest),
    (refuse(401, "who are you?"), Unauthorized),
    (refuse(403, "no more training", code="training_not_available"), TrainingNotAvailable),
    (refuse(429, "no quota left", code="insufficient_quota"), QuotaExhausted),
]


@pytest.mark.parametrize(("reply", "error"), REFUSALS)
def test_a_refusal_is_raised_when_the_name_is_free(reply, error, named_stage):
    named_stage.driver.trouble[CREATE] = [reply]
    with pytest.raises(error):
        named_stage.submit()
    assert trail_of(named_stage) == [LIST, *read(0, 1, 2), CREATE, *read(0, 1)]
    assert named_stage.service.jobs == []


def test_a_refusal_is_raised_when_the_name_cannot_be_read_either(named_stage):
    named_stage.driver.trouble[CREATE] = [refuse(401, "who are you?")]
    named_stage.driver.trouble[read(0)[0]] = [None, refuse(401, "who are you?")]
    with pytest.raises(Unauthorized):
        named_stage.submit()


@pytest.mark.parametrize("reply", [refuse(400, "the name is in use"), refuse(503, "in trouble")])
def test_a_name_that_cannot_be_read_for_a_while_is_worth_another_try(reply, named_stage):
    named_stage.driver.trouble[CREATE] = [answered_after(reply)]
    named_stage.driver.trouble[read(0)[0]] = [None, *[refuse(503, "in trouble")] * 3]
    with pytest.raises(LookupFailed) as caught:
        named_stage.submit()
    assert caught.value.retryable
    assert named_stage.submit().id == name_of(0)
    assert len(named_stage.service.jobs) == 1


def test_a_created_job_is_named_by_the_error_when_what_follows_fails(named_stage):
    named_stage.driver.trouble[read(1)[0]] = [None, *[refuse(503, "in trouble")] * 3]
    with pytest.raises(LookupFailed) as caught:
        named_stage.submit()
    assert caught.value.job_id == name_of(0)


def test_a_create_that_never_arrives_is_given_up_and_the_next_try_begins_anew(named_stage):
    named_stage.driver.trouble[CREATE] = [ConnectionLost("gone")] * 3
    with pytest.raises(SubmitUncertain, match="3 times"):
        named_stage.submit()
    assert named_stage.driver.slept == [1.0, 2.0]
    assert named_stage.submit().id == name_of(0)


def test_a_service_that_is_down_is_an_error_of_the_service(named_stage):
    named_stage.driver.trouble[CREATE] = [ConnectionFailed("refused")] * 9
    with pytest.raises(ConnectionFailed):
        named_stage.submit()
    named_stage.driver.trouble[LIST] = [refuse(500, "in trouble")] * 9
    with pytest.raises(LookupFailed) as caught:
        named_stage.submit()
    assert isinstance(caught.value.__cause__, ServerError)


def test_a_list_that_cannot_be_read_creates_nothing(named_stage):
    named_stage.driver.trouble[LIST] = [refuse(403, "no lists for you")]
    with pytest.raises(LookupFailed):
        named_stage.submit()
    assert named_stage.service.jobs == []
