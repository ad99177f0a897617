"""Many waits, one poll; and a job's log, told once, in order."""

from __future__ import annotations

import itertools
import json

import pytest
from support.fake_service import refuse, reply
from support.virtual_driver import Crashed

from tuneway import flows, progress
from tuneway.calls import Response
from tuneway.errors import (
    ConnectionLost,
    Forbidden,
    JobCancelled,
    JobFailed,
    NotFound,
    ServerError,
    Unauthorized,
    WaitTimeout,
)
from tuneway.flows import Account, Board, Poll, Wait, WaitToken, watch
from tuneway.flows.watch import DRAIN_TRIES, LOG_PAGES, LOGS_PER_ROUND
from tuneway.models import Job

LIST = "GET /fine_tuning/jobs"
START = 1_000_000.0
STEADY = Poll(minimum=10.0, maximum=60.0, jitter=0.0)


def get(number: int) -> str:
    return f"GET /fine_tuning/jobs/ftjob-{number}"


def log_of(number: int) -> str:
    return f"{get(number)}/events"


@pytest.fixture(autouse=True)
def _steady(stage):
    stage.account = Account(poll=STEADY)


def jobs(stage, count: int, *, ends_after: float | None = None, **fields) -> list[str]:
    """Some jobs, oldest first, that succeed after a while."""
    names = [stage.service.add_job(**fields)["id"] for _ in range(count)]
    if ends_after == 0:
        for name in names:
            stage.service.finish(name)
    elif ends_after is not None:
        for number, name in enumerate(names):
            stage.driver.at[START + ends_after + number / 1000] = lambda name=name: stage.service.finish(name)
    return names


# --- one wait ---


def test_a_wait_ends_when_its_job_does(stage):
    (name,) = jobs(stage, 1, ends_after=100)
    (wait,) = stage.wait(name, follows=False)
    assert wait.result().fine_tuned_model == "ft:base:org::ftjob-1"
    assert stage.heard(progress.Finished)[0].error is None
    assert set(stage.trail) <= {get(1), "Finished"} | {step for step in stage.trail if step.startswith("sleep")}


@pytest.mark.parametrize(("status", "kind"), [("failed", JobFailed), ("cancelled", JobCancelled)])
def test_a_wait_ends_badly_when_its_job_does(stage, status, kind):
    (name,) = jobs(stage, 1)
    stage.driver.at[START + 50] = lambda: stage.service.finish(name, status)
    (wait,) = stage.wait(name)
    assert isinstance(wait.failure(), kind)
    assert isinstance(stage.heard(progress.Finished)[0].error, kind)


def test_a_reason_that_the_list_leaves_out_is_read_with_the_job_alone(stage):
    names = jobs(stage, 3, ends_after=100)
    reason = {"message": "out of memory"}
    stage.driver.at[START + 50] = lambda: stage.service.finish(names[0], "failed", error=reason)

    def brief(request, exchange):
        listed = json.loads(exchange(request).content)
        return reply(listed | {"data": [job | {"error": None} for job in listed["data"]]})

    stage.driver.trouble[LIST] = [brief] * 99
    failed, *others = stage.wait(*names)
    assert "out of memory" in str(failed.failure())
    assert all(wait.result() for wait in others)
    assert [stage.trail.count(get(number)) for number in (1, 2, 3)] == [1, 0, 0]


def test_a_wait_for_a_job_that_has_ended_takes_one_look(stage):
    (name,) = jobs(stage, 1)
    stage.service.finish(name)
    stage.wait(name, follows=False)
    assert stage.trail == [get(1), "Finished"]


def test_not_found_right_after_a_create_is_tolerated(stage):
    (name,) = jobs(stage, 1, ends_after=100)
    stage.driver.trouble[get(1)] = [refuse(404, "no such job")] * 3
    (wait,) = stage.wait(name)
    assert wait.result().id == name
    assert [news.failures for news in stage.heard(progress.PollFailed)] == [1, 2, 3]


def test_not_found_several_times_ends_a_wait(stage):
    (wait,) = stage.wait("ftjob-nowhere")
    with pytest.raises(NotFound) as caught:
        wait.result()
    assert caught.value.job_id == "ftjob-nowhere"
    assert len(stage.service.log) == STEADY.tolerance


def test_as_many_failures_as_tolerated_end_a_wait(stage):
    (name,) = jobs(stage, 1)
    stage.driver.trouble[get(1)] = [ConnectionLost("gone")] * 99
    (wait,) = stage.wait(name, follows=False)
    assert isinstance(wait.failure(), ConnectionLost)
    assert stage.trail.count(get(1)) == STEADY.tolerance
    assert stage.heard(progress.PollFailed) == []  # nobody follows


def test_a_good_look_makes_failures_forgotten(stage):
    (name,) = jobs(stage, 1, ends_after=2000)
    stage.driver.trouble[get(1)] = ([Response(200, {}, b"<html>")] * 5 + [None]) * 3
    assert stage.wait(name)[0].result().id == name


def test_a_key_that_is_refused_ends_a_wait_at_once(stage):
    (name,) = jobs(stage, 1)
    stage.driver.trouble[get(1)] = [refuse(401, "who?")]
    assert isinstance(stage.wait(name)[0].failure(), Unauthorized)
    assert stage.driver.slept == []


def test_a_succeeded_job_without_a_name_is_looked_at_until_it_shows(stage):
    (name,) = jobs(stage, 1)
    stage.service.finish(name, "succeeded", fine_tuned_model=None)
    stage.driver.at[START + 15] = lambda: stage.service.finish(name)
    (wait,) = stage.wait(name, follows=False)
    assert wait.result().fine_tuned_model == "ft:base:org::ftjob-1"
    assert stage.driver.slept == [10.0, 10.0]


def test_a_succeeded_job_that_never_has_a_name_has_succeeded(stage):
    (name,) = jobs(stage, 1)
    stage.service.finish(name, "succeeded", fine_tuned_model=None)
    (wait,) = stage.wait(name)
    assert wait.result().fine_tuned_model is None
    assert stage.trail.count(get(1)) == 4


def test_a_deadline_ends_a_wait_and_leaves_the_job(stage):
    (name,) = jobs(stage, 1)
    (wait,) = stage.wait(name, timeout=95)
    assert isinstance(wait.failure(), WaitTimeout)
    assert stage.driver.now == START + 95
    assert stage.service.job(name)["status"] == "running"


def test_a_restart_does_not_renew_the_deadline(stage):
    (name,) = jobs(stage, 1)
    (wait,) = stage.wait(name, timeout=60)
    token = WaitToken.load(wait.token.dump())
    stage.driver.now += 1000
    before = len(stage.service.log)
    (again,) = stage.wait(token, follows=False)
    assert isinstance(again.failure(), WaitTimeout)
    assert len(stage.service.log) == before + 1


def test_a_change_is_told_once(stage):
    (name,) = jobs(stage, 1, ends_after=300, status="queued")
    stage.driver.at[START + 100] = lambda: stage.service.job(name).update(status="running")
    stage.wait(name)
    assert [news.job.status for news in stage.heard(progress.JobChanged)] == ["queued", "running", "succeeded"]


def estimates_told(stage, estimate, *, local=False) -> list[float]:
    """The estimates that a wait of 2000 seconds tells, if the service gives `estimate(seconds)` at each moment."""
    stage.account = Account(poll=STEADY, local=local)
    (name,) = jobs(stage, 1, estimated_finish=START + estimate(0))
    for second in range(5, 2000, 5):
        value = START + estimate(second)
        stage.driver.at[START + second] = lambda value=value: stage.service.job(name).update(estimated_finish=value)
    stage.wait(name, timeout=1990)
    return [news.job.estimated_finish - START for news in stage.heard(progress.JobChanged)]


def test_an_estimate_that_wavers_is_told_once(stage):
    assert len(estimates_told(stage, lambda second: 9000 + (second * 37 // 5) % 59)) == 1


def test_an_estimate_that_drifts_slowly_is_told_now_and_then(stage):
    told = estimates_told(stage, lambda second: 2000 + second / 8)
    assert 2 < len(told) <= 5
    assert all(later - earlier > 60 for earlier, later in itertools.pairwise(told))


@pytest.mark.parametrize(("left", "told"), [(90_000, 1), (3000, 2)])
def test_an_estimate_is_news_when_it_moves_by_a_share_of_what_is_left(left, told, stage):
    assert len(estimates_told(stage, lambda second: left + (400 if second > 300 else 0))) == told


def test_here_an_estimate_that_moves_by_seconds_is_told(stage):
    told = estimates_told(stage, lambda second: 2010 + (60 if second > 1500 else 0), local=True)
    assert told == [2010, 2070]


def test_without_a_listener_only_the_end_is_reported_and_no_log_is_read(stage):
    (name,) = jobs(stage, 1, ends_after=100)
    stage.service.add_event(name, "step 1")
    stage.wait(name, follows=False)
    assert [type(news) for news in stage.driver.told] == [progress.Finished]
    assert stage.service.requests("GET", ".*/events") == []


# --- many waits ---


def test_many_waits_share_one_list(stage):
    names = jobs(stage, 60, ends_after=200)
    waits = stage.wait(*names, follows=False)
    assert all(wait.result() for wait in waits)
    assert {step for step in stage.trail if step.startswith("GET")} == {LIST}
    assert len(stage.service.log) < 30


def test_a_thousand_waits_take_ten_pages_a_round(stage):
    names = jobs(stage, 1000, ends_after=0)
    waits = stage.wait(*names, follows=False)
    assert all(wait.result() for wait in waits)
    assert stage.trail.count(LIST) == 10
    assert len(stage.service.log) == 10


def test_showing_many_waits_their_jobs_leaves_others_of_the_loop_a_turn(stage):
    names = jobs(stage, 250, ends_after=0)
    stage.wait(*names, follows=False)
    assert stage.trail.count(LIST) == 3, "one round"
    assert stage.driver.breaths == 2


def test_a_job_that_has_not_changed_stays_the_object_that_it_was(stage):
    """A thousand new ones in each round are garbage that Python collects in one go, while everybody waits."""
    calm, lively = jobs(stage, 2)
    board = Board()
    for name in (calm, lively):
        board.add(Wait(stage.account, WaitToken(job_id=name), lambda _news: None))
    seen: list[list[Job]] = []

    def note():
        seen.append([wait.job for wait in board.waits])
        stage.service.job(lively)["trained_tokens"] = len(seen)

    for seconds in (5, 300, 600):
        stage.driver.at[START + seconds] = note
    stage.driver.run(watch(stage.account, board, enough=lambda: len(seen) == 3))
    assert stage.trail.count(LIST) > 3
    assert len({id(job) for job, _ in seen}) == 1
    assert [job.trained_tokens for _, job in seen] == [None, 1, 2]


def test_a_job_that_lies_deep_in_the_list_is_asked_for_by_itself(stage):
    (old,) = jobs(stage, 1, ends_after=40)
    jobs(stage, 500)
    stage.wait(old, follows=False)
    assert set(stage.trail) & {LIST, get(1)} == {get(1)}


def test_when_the_list_would_take_more_pages_than_there_are_waits_each_is_asked_for(stage):
    names = jobs(stage, 2, ends_after=200)
    jobs(stage, 500)
    stage.wait(*names, follows=False)
    lists = stage.trail.count(LIST)
    assert lists == 2  # once was enough to learn it
    assert stage.trail.count(get(1)) > 3
    assert stage.trail.index(get(1)) > stage.trail.index(LIST)


def test_a_hundred_deep_jobs_are_worth_a_few_pages(stage):
    names = jobs(stage, 100, ends_after=30)
    jobs(stage, 200)
    stage.wait(*names, follows=False)
    rounds = 1 + len([step for step in stage.trail if step.startswith("sleep")])
    assert stage.trail.count(LIST) == 3 * rounds
    assert {step for step in stage.trail if step.startswith("GET")} == {LIST}


def test_pages_without_watched_jobs_end_a_search(stage):
    names = jobs(stage, 250, ends_after=0)
    jobs(stage, 1500)
    stage.wait(*names, follows=False)
    assert stage.trail.count(LIST) == 3
    assert len([step for step in stage.trail if step.startswith("GET /fine_tuning/jobs/")]) == 250


def test_a_page_with_a_watched_job_continues_the_search(stage):
    deep = jobs(stage, 10, ends_after=0)
    jobs(stage, 1500)
    (young,) = jobs(stage, 1, ends_after=0)
    stage.wait(young, *deep, follows=False)
    assert stage.trail.count(LIST) == 1 + 3


def test_where_listing_is_forbidden_each_is_asked_for_and_listing_is_not_tried_again(stage):
    names = jobs(stage, 5, ends_after=100)
    stage.driver.trouble[LIST] = [refuse(403, "no lists for you")] * 99
    waits = stage.wait(*names, follows=False)
    assert all(wait.result() for wait in waits)
    assert stage.trail.count(LIST) == 1


def test_a_list_that_fails_for_now_counts_as_a_failed_look_for_all(stage):
    names = jobs(stage, 5, ends_after=100)
    stage.driver.trouble[LIST] = [refuse(503, "in trouble")] * 2
    waits = stage.wait(*names)
    assert all(wait.result() for wait in waits)
    assert len(stage.heard(progress.PollFailed)) == 10
    assert stage.trail[:2] == [LIST, "PollFailed"]  # nobody was asked for on top


def test_waits_that_see_nothing_but_trouble_give_up_together(stage):
    names = jobs(stage, 3)
    stage.driver.trouble[LIST] = [refuse(503, "in trouble")] * 99
    waits = stage.wait(*names, follows=False)
    assert {type(wait.failure()) for wait in waits} == {ServerError}
    assert stage.trail.count(LIST) == STEADY.tolerance


def test_two_waits_for_one_job_share_a_look(stage):
    (name,) = jobs(stage, 1, ends_after=30)
    first, second = stage.wait(name, name, follows=False)
    assert first.result() == second.result()
    assert stage.trail.count(get(1)) == 1 + len(stage.driver.slept)


def test_a_wait_whose_job_is_on_a_list_is_served_though_not_due(stage):
    names = jobs(stage, 3, ends_after=1000)
    board = Board()
    for name in names:
        board.add(Wait(stage.account, WaitToken(job_id=name), lambda _news: None))
    early, *others = board.waits

    def make_others_due():
        for wait in others:
            wait.due = wait.ready = START

    stage.driver.at[START + 30] = make_others_due
    stage.driver.run(watch(stage.account, board, enough=lambda: stage.driver.now > START + 35))
    assert early.job is not None
    assert early.due > START + 35


def test_waits_may_join_and_leave_meanwhile(stage):
    (first, second) = jobs(stage, 2, ends_after=100)
    board = Board()
    one, two = (Wait(stage.account, WaitToken(job_id=name), lambda _news: None) for name in (first, second))
    board.add(one)
    stage.driver.at[START + 20] = lambda: board.add(two)
    stage.driver.at[START + 60] = lambda: board.drop(one)
    stage.driver.run(watch(stage.account, board))
    assert not one.ended
    assert two.result().id == second
    board.drop(one)  # nothing happens when it isn't watched


def test_being_woken_does_not_cause_a_poll(stage):
    (name,) = jobs(stage, 1, ends_after=25)
    stage.driver.naps = [0.25, 3.0, 4.0, 0.1, 2.0]
    stage.wait(name, follows=False)
    assert [step for step in stage.trail if step != "Finished"] == [
        *(get(1), "sleep 0.25", "sleep 3", "sleep 4", "sleep 0.1", "sleep 2", "sleep 0.65"),
        *(get(1), "sleep 10", get(1), "sleep 10", get(1)),
    ]


def test_watching_stops_when_it_is_enough(stage):
    (name,) = jobs(stage, 1)
    board = Board()
    board.add(Wait(stage.account, WaitToken(job_id=name), lambda _news: None))
    stage.driver.run(watch(stage.account, board, enough=lambda: True))
    assert stage.trail == []


HASTY = Poll(minimum=0.01, maximum=0.02, jitter=0.0)


@pytest.mark.parametrize(
    ("waits", "follows", "trouble", "rests"),
    [
        (1, False, {}, [1.0, 1.0]),
        (300, False, {}, [3.0, 3.0]),
        (1, True, {}, [2.0, 2.0]),
        (2, True, {}, [3.0, 3.0]),
        (1, True, {log_of(1): [refuse(503, "in trouble")]}, [2.0, 2.0]),
        (5, False, {LIST: [refuse(503, "in trouble")]}, [1.0, 1.0]),
        (5, False, {LIST: [refuse(403, "no")]}, [6.0, 5.0]),
    ],
    ids=["one", "three pages", "with a log", "with two", "with a log that fails", "a list that fails", "no list"],
)
def test_a_service_elsewhere_has_a_second_of_rest_for_each_request(stage, waits, follows, trouble, rests):
    names = jobs(stage, waits)
    stage.account = Account(poll=HASTY)
    stage.driver.trouble = trouble
    stage.wait(*names, follows=follows, timeout=20)
    assert stage.driver.slept[:2] == rests


def test_a_service_here_needs_no_rest(stage):
    names = jobs(stage, 300)
    stage.account = Account(poll=HASTY, local=True)
    stage.wait(*names, follows=False, timeout=1)
    assert stage.driver.slept[0] == pytest.approx(0.01)


MANY = pytest.param(1000, 25.0, marks=pytest.mark.slow)


@pytest.mark.parametrize(("waits", "pause"), [(1, 60.0), (2, 30.0), (3, 20.0), (50, 15.0), (250, 15.0), MANY])
def test_a_shared_poll_comes_more_often_if_it_takes_few_requests(stage, waits, pause):
    names = jobs(stage, waits)
    stage.wait(*names, follows=False, timeout=500)
    assert stage.driver.slept[-3] == pause
    assert set(stage.trail) & {LIST, get(1)} == {LIST if waits > 1 else get(1)}


def test_polls_that_are_not_shared_do_not_come_more_often(stage):
    names = jobs(stage, 2)
    jobs(stage, 500)
    stage.wait(*names, follows=False, timeout=2000)
    assert stage.driver.slept[-3] == 60.0
    assert stage.trail.count(get(1)) == stage.trail.count(get(2)) > 10


def test_each_is_looked_at_in_its_own_time(stage):
    """Of two jobs, one should end soon: it is looked at alone."""
    soon, late = jobs(stage, 2)
    stage.service.job(soon)["estimated_finish"] = START + 900
    stage.service.job(late)["estimated_finish"] = START + 90_000
    first, second = stage.wait(soon, late, follows=False, timeout=1000)
    assert stage.trail.count(get(1)) > 2 * stage.trail.count(get(2))
    assert (first.failures, second.failures) == (0, 0)


def test_the_next_round_is_when_the_first_is_due():
    board = Board()
    for due in (30.0, 10.0, 20.0):
        wait = Wait(Account(), WaitToken(job_id="ftjob-1"), lambda _news: None)
        wait.due = START + due
        board.add(wait)
    assert board.pause(START) == 10.0
    board.rest_until = START + 15.0
    assert board.pause(START) == 15.0


def test_two_that_are_due_among_hundreds_are_asked_for_by_themselves(stage):
    names = jobs(stage, 250)
    board = Board()
    for name in names:
        board.add(Wait(stage.account, WaitToken(job_id=name), lambda _news: None))
    for wait in board.waits[2:]:
        wait.due = wait.ready = START + 1000.0
    stage.driver.run(watch(stage.account, board, enough=lambda: len(stage.trail) > 0))
    assert stage.trail == [get(1), get(2)]


def test_a_service_elsewhere_is_never_asked_twice_within_a_second(stage):
    moments: list[float] = []

    def note(request, exchange):
        moments.append(stage.driver.now)
        return exchange(request)

    (name,) = jobs(stage, 1)
    stage.account = Account(poll=Poll(minimum=0.001, maximum=0.002, jitter=0.5))
    stage.driver.trouble[get(1)] = [note] * 999
    stage.wait(name, follows=False, timeout=12.3)
    assert all(b - a >= 1.0 for a, b in itertools.pairwise(moments))
    assert len(moments) > 5


# --- logs ---


def messages(stage) -> list[str]:
    return [news.event.message for news in stage.heard(progress.Logged)]


def test_log_lines_are_told_once_each_and_in_order(stage):
    (name,) = jobs(stage, 1, ends_after=500)
    for number in range(40):
        stage.driver.at[START + 11.3 * number] = lambda number=number: stage.service.add_event(name, f"line {number}")
    stage.wait(name)
    assert messages(stage) == [f"line {number}" for number in range(40)]


def test_a_long_log_is_read_page_by_page(stage):
    (name,) = jobs(stage, 1, ends_after=10)
    for number in range(250):
        stage.service.add_event(name, f"line {number}")
    stage.wait(name)
    assert messages(stage) == [f"line {number}" for number in range(250)]
    assert stage.trail.count(log_of(1)) == 3 + 1


def test_a_log_without_end_is_read_so_far_and_no_further(stage):
    (name,) = jobs(stage, 1)
    numbers = itertools.count()

    def another_page(request, exchange):
        events = [{"id": f"ftevent-{next(numbers)}", "created_at": START} for _ in range(100)]
        return reply({"data": events, "has_more": True})

    stage.driver.trouble[log_of(1)] = [another_page] * 999
    stage.wait(name, timeout=1)
    assert stage.trail.count(log_of(1)) == 2 * LOG_PAGES


def test_a_restarted_wait_tells_only_what_is_new(stage):
    (name,) = jobs(stage, 1, ends_after=400)
    for number in range(20):
        stage.driver.at[START + 15.0 * number] = lambda number=number: stage.service.add_event(name, f"line {number}")
    token = WaitToken(job_id=name)
    for _ in range(60):
        board = Board()
        board.add(Wait(stage.account, token, stage.driver.told.append, follows=True))
        try:
            stage.driver.run(watch(stage.account, board), dies_at=17)
        except Crashed:
            if stage.heard(progress.Logged):
                token = WaitToken.load(stage.heard(progress.Logged)[-1].token)
            stage.driver.sleep(7.0)
        else:
            break
    assert stage.heard(progress.Finished)
    assert messages(stage) == [f"line {number}" for number in range(20)]


def test_the_log_is_read_to_its_end_before_the_end_is_told(stage):
    (name,) = jobs(stage, 1)
    stage.driver.at[START + 25] = lambda: (stage.service.add_event(name, "last words"), stage.service.finish(name))
    stage.wait(name)
    assert stage.trail[-3:] == ["Logged", "JobChanged", "Finished"]
    assert messages(stage) == ["last words"]


def test_a_log_that_cannot_be_read_delays_the_end_only_so_far(stage):
    (name,) = jobs(stage, 1)
    stage.service.finish(name)
    stage.driver.trouble[log_of(1)] = [refuse(503, "in trouble")] * 99
    (wait,) = stage.wait(name)
    assert wait.result().id == name
    assert stage.trail.count(log_of(1)) == DRAIN_TRIES
    assert stage.trail.count(get(1)) == 1
    assert stage.driver.slept == [10.0] * (DRAIN_TRIES - 1)


def test_a_log_that_can_be_read_again_is_told_before_the_end(stage):
    (name,) = jobs(stage, 1)
    stage.service.add_event(name, "line 1")
    stage.service.finish(name)
    stage.driver.trouble[log_of(1)] = [refuse(503, "in trouble")] * (DRAIN_TRIES - 1)
    stage.wait(name)
    assert messages(stage) == ["line 1"]
    assert stage.trail[-1] == "Finished"


def test_trouble_with_a_log_that_has_passed_is_forgotten(stage):
    (name,) = jobs(stage, 1)
    broken = [refuse(503, "in trouble")] * (DRAIN_TRIES - 1)
    stage.driver.trouble[log_of(1)] = [*broken, None, *broken]
    stage.driver.at[START + 35] = lambda: (stage.service.add_event(name, "last words"), stage.service.finish(name))
    stage.wait(name)
    assert messages(stage) == ["last words"]


def test_a_log_that_fails_while_the_job_runs_is_read_later(stage):
    (name,) = jobs(stage, 1, ends_after=100)
    stage.service.add_event(name, "line 1")
    stage.driver.trouble[log_of(1)] = [refuse(503, "in trouble")] * (DRAIN_TRIES + 1)
    stage.wait(name)
    assert messages(stage) == ["line 1"]


def test_a_wait_that_is_lost_still_tells_what_the_log_has(stage):
    (name,) = jobs(stage, 1)
    stage.driver.trouble[get(1)] = [None, refuse(403, "no longer yours")]
    stage.driver.at[START + 5] = lambda: stage.service.add_event(name, "line 1")
    (wait,) = stage.wait(name)
    assert isinstance(wait.failure(), Forbidden)
    assert messages(stage) == ["line 1"]


def test_an_old_view_of_the_log_is_not_told_again(stage):
    (name,) = jobs(stage, 1, ends_after=200)
    for number in range(3):
        stage.service.add_event(name, f"line {number}", created_at=START + number)
    old = reply({"data": [stage.service.events[name][0]], "has_more": False})
    stage.driver.trouble[log_of(1)] = [None, old, reply({"data": [], "has_more": False})]
    stage.driver.at[START + 100] = lambda: stage.service.add_event(name, "line 3", created_at=START + 100)
    stage.wait(name)
    assert messages(stage) == [f"line {number}" for number in range(4)]


def test_a_log_that_was_cut_short_goes_on_after_what_was_told(stage):
    (name,) = jobs(stage, 1, ends_after=100)
    for number in range(4):
        stage.service.add_event(name, f"line {number}", created_at=START + number)
    token = WaitToken(job_id=name, last_event="ftevent-long-gone", last_event_at=START + 1)
    stage.wait(token)
    assert messages(stage) == ["line 2", "line 3"]


@pytest.mark.parametrize("moment", [None, "soon"])
def test_without_moments_a_log_that_lost_its_cursor_is_not_told_again(stage, moment):
    (name,) = jobs(stage, 1, ends_after=100)
    stage.service.add_event(name, "line 1", created_at=moment)
    stage.wait(WaitToken(job_id=name, last_event="ftevent-long-gone", last_event_at=START))
    assert messages(stage) == []


def test_a_cursor_without_its_moment_is_found_as_long_as_the_log_has_it(stage):
    (name,) = jobs(stage, 1, ends_after=10)
    first = stage.service.add_event(name, "line 1")
    stage.service.add_event(name, "line 2")
    stage.wait(WaitToken(job_id=name, last_event=first["id"]))
    assert messages(stage) == ["line 2"]


def test_metrics_are_numbers(stage):
    (name,) = jobs(stage, 1, ends_after=10)
    stage.service.add_event(name, "Step 1", type="metrics", data={"step": 1, "train_loss": 0.5, "note": "x"})
    stage.wait(name)
    assert stage.heard(progress.Logged)[0].event.metrics == {"step": 1, "train_loss": 0.5}


@pytest.mark.parametrize(
    ("waits", "local", "reads"),
    [(5, False, 5), (10, False, 10), (20, False, 5), (30, False, 3), (100, False, 1), (250, False, 1), (100, True, 10)],
)
def test_the_more_share_a_poll_the_fewer_logs_are_read_in_a_round(stage, waits, local, reads):
    names = jobs(stage, waits)
    stage.account = Account(poll=STEADY, local=local)
    board = Board()
    for name in names:
        board.add(Wait(stage.account, WaitToken(job_id=name), stage.driver.told.append, follows=True))
    rounds = iter(range(2))
    stage.driver.run(watch(stage.account, board, enough=lambda: next(rounds, None) is None))
    assert len(stage.service.requests("GET", ".*/events")) == reads


def test_after_a_great_many_logs_whoever_joins_is_looked_at_within_a_minute(stage):
    ended = jobs(stage, 200, ends_after=0)
    (late,) = jobs(stage, 1, ends_after=100)
    board = Board()
    for name in ended:
        board.add(Wait(stage.account, WaitToken(job_id=name), stage.driver.told.append, follows=True))
    joining = Wait(stage.account, WaitToken(job_id=late), stage.driver.told.append)
    board.add(Wait(stage.account, WaitToken(job_id=late), stage.driver.told.append))
    stage.driver.at[START + 1] = lambda: board.add(joining)
    stage.driver.run(watch(stage.account, board, enough=lambda: joining.job is not None))
    assert stage.driver.now <= START + 61


def test_few_logs_are_read_in_a_round_and_everybodys_in_turn(stage):
    names = jobs(stage, 3 * LOGS_PER_ROUND)
    for name in names:
        stage.service.add_event(name, "hello")
    board = Board()
    for name in names:
        board.add(Wait(stage.account, WaitToken(job_id=name), stage.driver.told.append, follows=True))
    rounds = iter(range(2))
    stage.driver.run(watch(stage.account, board, enough=lambda: next(rounds, None) is None))
    assert len({request.path for request in stage.service.requests("GET", ".*/events")}) == 3
    rounds = iter(range(99))
    stage.driver.run(watch(stage.account, board, enough=lambda: next(rounds, None) is None))
    assert {news.job_id for news in stage.heard(progress.Logged)} == set(names)


def test_a_token_told_with_a_line_resumes_after_it(stage):
    (name,) = jobs(stage, 1, ends_after=10)
    stage.service.add_event(name, "line 1")
    stage.service.add_event(name, "line 2")
    stage.wait(WaitToken(job_id=name, deadline=START + 500))
    first = stage.heard(progress.Logged)[0]
    token = WaitToken.load(first.token)
    assert (token.last_event, token.last_event_at, token.deadline) == (first.event.id, START, START + 500)
    stage.driver.told.clear()
    stage.wait(token)
    assert messages(stage) == ["line 2"]


def test_a_pause_asked_of_one_wait_holds_the_account(stage):
    """The pace is shared by all that an account sends; the schedule of a wait bears it as well."""
    (name,) = jobs(stage, 1, ends_after=100)
    stage.driver.trouble[get(1)] = [refuse(429, "slow down", **{"retry-after": "45"})]
    stage.wait(name, follows=False)
    assert stage.driver.slept[0] == 45.0


def test_an_empty_board_is_nothing_to_do(stage):
    stage.driver.run(flows.watch(stage.account, Board()))
    assert stage.trail == []
