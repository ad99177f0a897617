"""The table of the submit protocol: each state with each result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.fake_service import refuse
from support.virtual_driver import answered_after, lost_after

from tuneway import progress
from tuneway.errors import ConnectionLost, LookupFailed
from tuneway.flows import Account, Marks, Suffix
from tuneway.flows.submit import TRANSITIONS, SubmitResult, SubmitState

LIST = "GET /fine_tuning/jobs"
CREATE = "POST /fine_tuning/jobs"
WINDOW = "sleep 10"

# What each state can see; the rest is impossible, and each state's action says so by its few returns.
POSSIBLE = {
    (SubmitState.LOOK, SubmitResult.NOTHING),
    (SubmitState.LOOK, SubmitResult.ALIVE),
    (SubmitState.LOOK, SubmitResult.READY),
    (SubmitState.CREATE, SubmitResult.SENT),
    (SubmitState.SETTLE, SubmitResult.NOTHING),
    (SubmitState.SETTLE, SubmitResult.SOMETHING),
    (SubmitState.RESOLVE, SubmitResult.READY),
    (SubmitState.RESOLVE, SubmitResult.ONE),
}


def nothing_there(stage: Any) -> None:
    """The list is empty."""


def one_runs(stage: Any) -> None:
    stage.rival(status="running")


def one_has_succeeded(stage: Any) -> None:
    stage.rival(status="succeeded", fine_tuned_model="ft:base")


def create_is_lost(stage: Any) -> None:
    stage.driver.trouble[CREATE] = [ConnectionLost("gone")]


def reply_is_lost(stage: Any) -> None:
    stage.driver.trouble[CREATE] = [lost_after(ConnectionLost("gone"))]


def a_younger_double_has_succeeded(stage: Any) -> None:
    """Two run; when the younger is to be cancelled, it has just succeeded."""
    stage.rival(id="ftjob-old", created_at=1)
    stage.rival(id="ftjob-young", created_at=2)

    def ends_first(request: Any, exchange: Callable[[Any], Any]) -> Any:
        stage.service.finish("ftjob-young", "succeeded")
        return exchange(request)

    stage.driver.trouble["POST /fine_tuning/jobs/ftjob-young/cancel"] = [ends_first]


REACHED = [
    ((SubmitState.LOOK, SubmitResult.NOTHING), nothing_there, [LIST, CREATE, "JobCreated", WINDOW, LIST]),
    ((SubmitState.LOOK, SubmitResult.ALIVE), one_runs, [LIST, WINDOW, LIST, "JobAdopted"]),
    ((SubmitState.LOOK, SubmitResult.READY), one_has_succeeded, [LIST, "JobAdopted"]),
    ((SubmitState.CREATE, SubmitResult.SENT), reply_is_lost, [LIST, CREATE, WINDOW, LIST, "JobAdopted"]),
    (
        (SubmitState.SETTLE, SubmitResult.NOTHING),
        create_is_lost,
        [LIST, CREATE, WINDOW, LIST, LIST, CREATE, "JobCreated", WINDOW, LIST],
    ),
    ((SubmitState.SETTLE, SubmitResult.SOMETHING), nothing_there, [LIST, CREATE, "JobCreated", WINDOW, LIST]),
    (
        (SubmitState.RESOLVE, SubmitResult.READY),
        a_younger_double_has_succeeded,
        [
            *(LIST, WINDOW, LIST),
            *("POST /fine_tuning/jobs/ftjob-young/cancel", "GET /fine_tuning/jobs/ftjob-young"),
            *("POST /fine_tuning/jobs/ftjob-old/cancel", "RivalCancelled", "JobAdopted"),
        ],
    ),
    ((SubmitState.RESOLVE, SubmitResult.ONE), one_runs, [LIST, WINDOW, LIST, "JobAdopted"]),
]


def cell_name(state: SubmitState, result: SubmitResult) -> str:
    return f"{state.name.lower()} sees {result.name.lower()}"


CARRIERS = {
    "metadata": Marks(),
    "suffix": Suffix(),
    "the key alone in a short suffix": Suffix(room=40, marks=("key",)),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(("cell", "arrange", "trail"), REACHED, ids=[cell_name(*cell) for cell, *_ in REACHED])
def test_each_result_leads_to_the_state_in_the_table(cell, arrange, trail, carrier, stage):
    stage.account = Account(carrier=CARRIERS[carrier])
    stage.service.keeps_metadata = carrier == "metadata"
    arrange(stage)
    job = stage.submit()
    assert stage.trail == trail
    assert [alive["id"] for alive in stage.service.alive] == [job.id]


def test_every_possible_cell_is_reached_and_no_other_exists():
    assert {cell for cell, _, _ in REACHED} == POSSIBLE
    assert {(state, result) for state, row in TRANSITIONS.items() for result in row} == POSSIBLE


def test_done_is_absorbing():
    assert SubmitState.DONE not in TRANSITIONS


UNCLEAR = [
    lost_after(ConnectionLost("gone")),
    *(answered_after(refuse(status, "in trouble")) for status in (408, 409, 500, 502, 503, 504, 599)),
    answered_after(refuse(503, "in trouble", **{"x-should-retry": "true"})),
    answered_after(refuse(503, "in trouble", **{"x-should-retry": "false"})),
]


@pytest.mark.parametrize("fault", UNCLEAR)
def test_an_unclear_create_is_followed_by_a_look_and_its_job_is_adopted(fault, stage):
    stage.driver.trouble[CREATE] = [fault]
    job = stage.submit()
    assert stage.trail == [LIST, CREATE, WINDOW, LIST, "JobAdopted"]
    assert [made["id"] for made in stage.service.jobs] == [job.id]
    assert stage.heard(progress.JobCreated) == []


@pytest.mark.parametrize("when", ["before a create", "after a create"])
def test_a_look_that_fails_ends_the_try_in_either_state(when, stage):
    broken = [refuse(403, "no lists for you")]
    stage.driver.trouble[LIST] = broken if when == "before a create" else [None, *broken]
    with pytest.raises(LookupFailed):
        stage.submit()
    assert len(stage.service.jobs) == (when == "after a create")
