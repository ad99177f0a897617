"""A wait's schedule, its deadline and its words."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from tuneway.errors import (
    InvalidInput,
    InvalidSpec,
    JobCancelled,
    JobFailed,
    NotFound,
    RateLimited,
    ServerError,
    TunewayError,
    UnknownStatus,
    WaitTimeout,
)
from tuneway.flows import LOCAL_POLL, Account, Poll, Wait, WaitToken, deadline_after
from tuneway.flows.wait import LONGEST_PAUSE
from tuneway.models import Job

START = 1_000_000.0
STEADY = Poll(jitter=0.0)


def waiting(poll: Poll = STEADY, *, local: bool = False, deadline: float | None = None) -> Wait:
    return Wait(Account(poll=poll, local=local), WaitToken(job_id="ftjob-1", deadline=deadline), lambda _news: None)


def running(**fields: object) -> Job:
    return Job.model_validate({"id": "ftjob-1", "status": "running"} | fields)


def looks(wait: Wait, show: Callable[[float], Job | TunewayError], *, until: float) -> list[float]:
    """The moments of all looks until then, each when it is due."""
    moments, now = [], START
    while now < until and not wait.ended:
        moments.append(now)
        wait.see(show(now), now)
        now = wait.due
    return moments


def pauses(moments: list[float]) -> list[float]:
    return [round(b - a, 6) for a, b in itertools.pairwise(moments)]


# --- when to look again ---


def test_pauses_are_a_share_of_the_time_waited_between_two_bounds():
    moments = looks(waiting(), lambda _now: running(), until=START + 3600)
    gaps = pauses(moments)
    assert gaps[0] == 5.0
    assert gaps == sorted(gaps)
    assert gaps[-1] == 60.0
    assert all(gap <= max(5.0, 0.25 * (at - START) + 1e-6) for gap, at in zip(gaps, moments, strict=False))


def test_a_new_status_starts_the_pauses_anew():
    def show(now: float) -> Job:
        return running(status="queued" if now < START + 600 else "running")

    gaps = pauses(looks(waiting(), show, until=START + 1200))
    turn = gaps.index(60.0)
    assert 5.0 in gaps[turn:]


def test_pauses_vary_so_that_waits_do_not_poll_at_the_same_moment():
    due = set()
    for _ in range(100):
        wait = waiting(Poll(minimum=10.0, jitter=0.1))
        wait.see(running(), START)
        due.add(wait.due)
        assert START + 9.0 <= wait.due <= START + 11.0
        assert wait.due - START == pytest.approx((wait.ready - START) / 0.75)
    assert len(due) > 50


@pytest.mark.parametrize("growth", [1.01, 1.25, 3.0])
def test_no_schedule_looks_more_often_than_once_a_second_at_a_service_elsewhere(growth):
    poll = Poll(minimum=0.001, maximum=0.5, growth=growth, jitter=0.9)
    for _ in range(20):
        assert min(pauses(looks(waiting(poll), lambda _now: running(), until=START + 30))) >= 1.0


def test_a_schedule_may_poll_more_often_on_this_machine():
    gaps = pauses(looks(waiting(Poll(minimum=0.01, maximum=0.1, jitter=0.0), local=True), lambda _n: running(),
                        until=START + 5))  # fmt: skip
    assert min(gaps) == 0.01
    assert max(gaps) == 0.1


def test_a_shared_poll_comes_more_often_but_not_below_the_minimum():
    alone, shared, crowd = waiting(), waiting(), waiting()
    for wait, waits_per_request in ((alone, 1.0), (shared, 2.0), (crowd, 100.0)):
        wait.see(running(), START, waits_per_request=waits_per_request)
        wait.see(running(), START + 1000, waits_per_request=waits_per_request)
    assert [wait.due - START - 1000 for wait in (alone, shared, crowd)] == [60.0, 30.0, 15.0]


@pytest.mark.parametrize("seed", range(20))
def test_an_hours_job_with_an_estimate_takes_a_quarter_of_a_fixed_minutes_looks_and_is_noticed_sooner(seed):
    random.seed(seed)
    end = START + 3600 + 60 * random.random()
    wait = waiting(Poll())

    def show(now: float) -> Job:
        if now >= end:
            return running(status="succeeded", fine_tuned_model="ft:base")
        return running(estimated_finish=end)

    moments = looks(wait, show, until=START + 9999)
    assert len(moments) <= 60 / 4
    assert moments[-1] - end < 30  # what a fixed minute misses it by, on average


def test_however_far_the_estimate_a_wait_looks_now_and_then():
    gaps = pauses(looks(waiting(), lambda _now: running(estimated_finish=START + 1e6), until=START + 9999))
    assert set(gaps) == {LONGEST_PAUSE}


def test_an_estimate_that_has_passed_is_ignored():
    moments = looks(waiting(), lambda _now: running(estimated_finish=START + 60), until=START + 3600)
    late = [gap for gap, at in zip(pauses(moments), moments, strict=False) if at > START + 60]
    assert late == sorted(late)
    assert 5.0 <= late[0] < late[-1] == 60.0


def test_an_estimate_does_not_shorten_a_long_minimum():
    wait = waiting(Poll(minimum=5.0, maximum=3600.0, jitter=0.0))
    wait.see(running(estimated_finish=START + 6000), START)
    assert wait.due - START == 3600.0


@pytest.mark.parametrize(
    ("asked", "pause"), [(None, 5.0), (0.0, 5.0), (3.0, 5.0), (90.0, 90.0), (1e9, LONGEST_PAUSE)]
)  # fmt: skip
def test_the_pause_that_the_service_asks_for_counts_up_to_a_limit(asked, pause):
    wait = waiting()
    wait.see(RateLimited("slow down", retry_after=asked), START)
    assert wait.due - START == pause


def test_early_trouble_is_followed_by_soon_and_then_longer_pauses():
    moments = looks(waiting(), lambda _now: NotFound("no such job"), until=START + 9999)
    assert pauses(moments) == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_endless_tolerance_does_not_overflow_the_pauses():
    wait = waiting(Poll(tolerance=10_000, jitter=0.0))
    looks(wait, lambda _now: ServerError("in trouble"), until=START + 300_000)
    assert wait.failures > 2000
    assert wait.due - START < 301_000


def test_while_a_name_is_missing_pauses_are_the_shortest():
    wait = waiting()
    wait.see(running(), START)
    wait.see(running(status="succeeded"), START + 3600)
    assert wait.due - START - 3600 == 5.0


# --- an unknown status ---


def ripe() -> Job:
    return running(status="ripe", finished_at=START)


def test_an_unknown_end_is_looked_at_again_after_the_longest_pause_and_is_then_told():
    wait = waiting()
    assert pauses(looks(wait, lambda _now: ripe(), until=START + 9999)) == [60.0]
    error = wait.failure()
    assert isinstance(error, UnknownStatus)
    assert str(error).startswith(
        "ftjob-1 has ended with the status 'ripe', which is unknown here; the service names no"
    )


def test_a_job_that_is_clear_at_the_second_look_ends_as_it_says():
    def show(now: float) -> Job:
        return ripe() if now < START + 60 else running(status="succeeded", fine_tuned_model="ft:base")

    wait = waiting()
    looks(wait, show, until=START + 9999)
    assert wait.result().fine_tuned_model == "ft:base"


def test_a_job_that_runs_on_after_an_unknown_status_is_waited_for():
    words = iter(["ripe", "running", "ripe"])
    wait = waiting()
    for at in (0, 60, 120):
        wait.see(running(status=next(words), finished_at=START), START + at)
    assert not wait.ended


def test_polls_for_other_waits_do_not_hasten_or_delay_the_second_look():
    wait = waiting()
    for at in range(0, 30, 5):
        wait.see(ripe(), START + at)
        assert not wait.ended
        assert wait.due == START + 60
    wait.see(ServerError("in trouble"), START + 31)
    wait.see(ripe(), START + 60)
    assert isinstance(wait.failure(), UnknownStatus)


def test_an_unknown_status_without_an_end_is_waited_for_until_the_deadline():
    wait = waiting(deadline=START + 1000)
    moments = looks(wait, lambda _now: running(status="ripening", finished_at=None), until=START + 9999)
    assert len(moments) > 10
    assert isinstance(wait.failure(), WaitTimeout)


# --- the deadline ---


def test_the_last_look_is_at_the_deadline():
    wait = waiting(deadline=START + 100.0)
    moments = looks(wait, lambda _now: running(), until=START + 9999)
    assert moments[-1] == START + 100.0
    with pytest.raises(WaitTimeout, match="didn't end before the deadline"):
        wait.result()


def test_a_deadline_is_a_moment_and_no_budget_that_a_restart_renews():
    first = waiting(deadline=START + 100.0)
    first.see(running(), START + 90)
    again = Wait(Account(), WaitToken.load(first.token.dump()), lambda _news: None)
    again.see(running(), START + 101)
    assert isinstance(again.failure(), WaitTimeout)


@pytest.mark.parametrize(("timeout", "deadline"), [(None, None), (float("inf"), None), (0, 7.0), (60, 67.0)])
def test_a_time_out_becomes_a_deadline(timeout, deadline):
    assert deadline_after(timeout, 7.0) == deadline


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("-inf"), "60"])
def test_a_time_out_that_is_none_is_refused(timeout):
    with pytest.raises(InvalidInput, match="timeout can't be"):
        deadline_after(timeout, 7.0)


@pytest.mark.parametrize(
    "knobs",
    [
        {"minimum": 0.0},
        {"minimum": float("nan")},
        {"minimum": 10.0, "maximum": 5.0},
        {"growth": 1.0},
        {"jitter": 1.0},
        {"jitter": -0.1},
        {"tolerance": 0},
    ],
    ids=str,
)
def test_a_schedule_that_makes_no_sense_is_refused_by_its_field(knobs):
    with pytest.raises(InvalidSpec, match="can't be") as caught:
        Poll(**knobs)
    assert caught.value.field.startswith("poll.")


@pytest.mark.parametrize("knobs", [{"minimum": 5.0, "maximum": 5.0}, {"jitter": 0.0}, {"tolerance": 1}], ids=str)
def test_a_schedule_at_its_bounds_is_fine(knobs):
    assert Poll(**knobs).maximum >= Poll(**knobs).minimum


def test_the_default_on_this_machine_looks_often():
    assert LOCAL_POLL.minimum < 1
    assert (Account().poll_floor, Account(local=True).poll_floor) == (1.0, 0.0)


# --- what it says ---


def ended(**fields: object) -> TunewayError:
    wait = waiting()
    wait.see(running(**fields), START)
    failure = wait.failure()
    assert failure is not None
    return failure


def test_a_failure_carries_the_services_own_reason():
    error = ended(
        status="failed", error={"code": "invalid_n_examples", "message": "10 needed", "param": "training_file"}
    )
    assert isinstance(error, JobFailed)
    assert str(error).startswith("ftjob-1 failed: 10 needed (code: invalid_n_examples)\nSee `tuneway events ftjob-1`")
    assert error.param == "training_file"
    assert not error.retryable


@pytest.mark.parametrize("fault", [None, {}, {"code": None, "message": None}])
def test_a_failure_without_a_reason_says_so(fault):
    assert "the service gives no reason" in str(ended(status="failed", error=fault))


def test_a_failure_that_the_service_blames_on_itself_can_be_retried():
    assert ended(status="failed", error={"code": "server_error", "message": "sorry"}).retryable


def test_a_cancelled_job_is_named():
    error = ended(status="cancelled")
    assert isinstance(error, JobCancelled)
    assert error.job_id == "ftjob-1"


def test_a_time_out_says_how_to_go_on_and_can_be_retried():
    wait = waiting(deadline=START)
    wait.see(running(), START)
    error = wait.failure()
    assert isinstance(error, WaitTimeout)
    assert "tuneway wait ftjob-1" in str(error)
    assert error.retryable


def test_on_this_machine_a_wrong_estimate_delays_nothing_for_long():
    far = running(estimated_finish=START + 700)
    gaps = pauses(
        looks(waiting(Poll(minimum=0.25, maximum=5.0, jitter=0), local=True), lambda _now: far, until=START + 60)
    )
    assert max(gaps) == 5.0
