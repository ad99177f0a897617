"""The table of a wait: each state with each result of a poll."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tuneway.errors import (
    Forbidden,
    JobCancelled,
    JobFailed,
    NotFound,
    ServerError,
    TunewayError,
    UnknownStatus,
    WaitTimeout,
)
from tuneway.flows import Account, Poll, Wait, WaitToken
from tuneway.flows.wait import NAMING_POLLS, TRANSITIONS, PollResult, WaitState
from tuneway.models import Job

W, N, S, F, C, E, L, U = WaitState  # watching, naming, succeeded, failed, cancelled, expired, lost, unclear

# The promise, written down a second time: where each result leads from each state.
PROMISE = {
    #    alive nameless succeeded failed cancelled unreadable hopeless late unclear
    W: (W, N, S, F, C, W, L, E, U),
    N: (N, N, S, N, N, N, S, S, S),  # it has succeeded: nothing takes that back
    S: (S, S, S, S, S, S, S, S, S),
    F: (F, F, F, F, F, F, F, F, F),
    C: (C, C, C, C, C, C, C, C, C),
    E: (E, E, E, E, E, E, E, E, E),
    L: (L, L, L, L, L, L, L, L, L),
    U: (U, U, U, U, U, U, U, U, U),
}
CELLS = [(state, result, to) for state, row in PROMISE.items() for result, to in zip(PollResult, row, strict=True)]

DEADLINE = 1000.0


def job(status: str, model: str | None = None) -> Job:
    return Job(id="ftjob-1", status=status, fine_tuned_model=model)


SHOW: dict[PollResult, Callable[[], tuple[Job | TunewayError, float]]] = {
    PollResult.ALIVE: lambda: (job("running"), 10.0),
    PollResult.NAMELESS: lambda: (job("succeeded"), 10.0),
    PollResult.SUCCEEDED: lambda: (job("succeeded", "ft:base"), 10.0),
    PollResult.FAILED: lambda: (job("failed"), 10.0),
    PollResult.CANCELLED: lambda: (job("cancelled"), 10.0),
    PollResult.UNREADABLE: lambda: (ServerError("in trouble"), 10.0),
    PollResult.HOPELESS: lambda: (Forbidden("no"), 10.0),
    PollResult.LATE: lambda: (job("running"), DEADLINE + 1),
    PollResult.UNCLEAR: lambda: (job("a word of tomorrow", "ft:base"), DEADLINE),
}
REACH = {
    W: (),
    N: (PollResult.NAMELESS,),
    S: (PollResult.SUCCEEDED,),
    F: (PollResult.FAILED,),
    C: (PollResult.CANCELLED,),
    E: (PollResult.LATE,),
    L: (PollResult.HOPELESS,),
    U: (PollResult.UNCLEAR,),
}
VERDICT: dict[WaitState, type[TunewayError] | None] = {
    S: None,
    F: JobFailed,
    C: JobCancelled,
    E: WaitTimeout,
    L: Forbidden,
    U: UnknownStatus,
}


def wait_in(state: WaitState) -> Wait:
    wait = Wait(Account(), WaitToken(job_id="ftjob-1", deadline=DEADLINE), lambda _news: None)
    for result in REACH[state]:
        wait.see(*SHOW[result]())
    assert wait.state is state
    return wait


@pytest.mark.parametrize(("state", "result", "to"), CELLS, ids=lambda value: value.name.lower())
def test_each_result_leads_to_the_right_state(state, result, to):
    wait = wait_in(state)
    wait.see(*SHOW[result]())
    assert wait.state is to


def test_the_table_holds_just_what_is_promised():
    assert {(state, result, to) for state, row in TRANSITIONS.items() for result, to in row.items()} == set(CELLS)


@pytest.mark.parametrize("state", VERDICT, ids=lambda state: state.name.lower())
@pytest.mark.parametrize("result", PollResult, ids=lambda result: result.name.lower())
def test_no_later_result_changes_a_final_state(state, result):
    wait = wait_in(state)
    before, seen = wait.failure(), wait.job
    wait.see(*SHOW[result]())
    after = wait.failure()
    assert wait.ended
    assert wait.job is seen
    assert (type(before), str(before)) == (type(after), str(after))
    kind = VERDICT[state]
    if kind is None:
        assert wait.result().fine_tuned_model == "ft:base"
    else:
        with pytest.raises(kind):
            wait.result()


@pytest.mark.parametrize(
    "result", [PollResult.FAILED, PollResult.CANCELLED, PollResult.ALIVE, PollResult.UNREADABLE, PollResult.NAMELESS]
)
def test_a_succeeded_job_gets_a_few_looks_to_show_its_name_whatever_they_show(result):
    wait = wait_in(N)
    for _ in range(NAMING_POLLS):
        assert not wait.ended
        wait.see(*SHOW[result]())
    assert wait.result().status == "succeeded"
    assert wait.result().fine_tuned_model is None


def test_a_name_that_comes_with_the_last_look_counts():
    wait = wait_in(N)
    for _ in range(NAMING_POLLS - 1):
        wait.see(*SHOW[PollResult.NAMELESS]())
    wait.see(*SHOW[PollResult.SUCCEEDED]())
    assert wait.result().fine_tuned_model == "ft:base"


def test_a_name_that_comes_after_the_deadline_counts():
    wait = wait_in(N)
    wait.see(job("succeeded", "ft:base"), DEADLINE + 1)
    assert wait.result().fine_tuned_model == "ft:base"


@pytest.mark.parametrize(
    ("status", "model", "kind"),
    [
        ("succeeded", "ft:base", None),
        ("succeeded", None, None),
        ("failed", None, JobFailed),
        ("cancelled", None, JobCancelled),
        ("running", None, WaitTimeout),
        ("a word of tomorrow", None, WaitTimeout),
        ("a word of tomorrow", "ft:base", UnknownStatus),
    ],
)
def test_an_end_that_is_seen_after_the_deadline_is_still_the_end(status, model, kind):
    wait = wait_in(W)
    wait.see(job(status, model), DEADLINE)
    assert wait.ended
    assert (type(wait.failure()) if wait.failure() else None) is kind


def test_trouble_after_the_deadline_is_a_time_out():
    wait = wait_in(W)
    wait.see(ServerError("in trouble"), DEADLINE)
    with pytest.raises(WaitTimeout, match="not seen"):
        wait.result()


def test_a_refusal_after_the_deadline_is_the_refusal():
    wait = wait_in(W)
    wait.see(Forbidden("no"), DEADLINE)
    with pytest.raises(Forbidden):
        wait.result()


@pytest.mark.parametrize("trouble", [ServerError("in trouble"), NotFound("no such job")])
def test_as_many_failures_in_a_row_as_tolerated_end_a_wait(trouble):
    wait = Wait(Account(poll=Poll(tolerance=4)), WaitToken(job_id="ftjob-1"), lambda _news: None)
    for _ in range(3):
        wait.see(trouble, 10.0)
    wait.see(job("running"), 11.0)  # one good look, and counting starts anew
    for _ in range(3):
        wait.see(trouble, 12.0)
    assert not wait.ended
    wait.see(trouble, 13.0)
    with pytest.raises(type(trouble)) as caught:
        wait.result()
    assert caught.value.job_id == "ftjob-1"
