"""The pace of an account: what one request is told slows all of them."""

from __future__ import annotations

import pytest
from support.fake_service import FakeService, refuse, reply
from support.virtual_driver import VirtualDriver

from tuneway import calls
from tuneway.flows import Account, request
from tuneway.flows._pace import FIRST_GAP, LONGEST_GAP, Pace

NOW = 1_000_000.0


def refused(pace: Pace, now: float = NOW, *, sent_at: float | None = None, **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    pace.heard(429, named, sent_at=now if sent_at is None else sent_at, now=now)


def accepted(pace: Pace, now: float = NOW, **headers: str) -> None:
    pace.heard(200, {name.replace("_", "-"): value for name, value in headers.items()}, sent_at=now, now=now)


def test_requests_wait_for_nothing_without_refusals():
    pace = Pace()
    for _ in range(1000):
        assert pace.reserve(NOW) == 0.0
        accepted(pace)


def test_after_a_refusal_nobody_sends_before_the_service_said_to():
    pace = Pace()
    refused(pace, retry_after="7")
    assert pace.reserve(NOW) == 7.0
    assert pace.reserve(NOW + 10) == 0.0


def test_a_refusal_that_asks_for_nothing_holds_for_a_second():
    pace = Pace()
    refused(pace)
    assert pace.reserve(NOW) == 1.0


@pytest.mark.parametrize("hours", ["36000", "999999999"])
def test_a_refusal_holds_for_a_minute_at_most(hours):
    pace = Pace()
    refused(pace, retry_after=hours)
    assert pace.reserve(NOW) == 60.0


def test_after_a_refusal_requests_go_one_after_another():
    pace = Pace()
    refused(pace, retry_after="1")
    assert [round(pace.reserve(NOW), 6) for _ in range(3)] == [1.0, 1.0 + FIRST_GAP, 1.0 + 2 * FIRST_GAP]


def test_the_first_gap_is_what_was_just_accepted_in_a_second():
    pace = Pace()
    for number in range(10):
        accepted(pace, NOW - number / 100)
    accepted(pace, NOW - 5)
    refused(pace, retry_after="0")
    pace.reserve(NOW)
    assert pace.reserve(NOW) == pytest.approx(0.1)


def test_the_gap_doubles_with_every_refusal_up_to_a_bound():
    pace = Pace()
    gaps = []
    for number in range(12):
        now = NOW + 1000 * number
        refused(pace, now, retry_after="0")
        pace.reserve(now)
        gaps.append(pace.reserve(now))
    assert gaps[:3] == pytest.approx([FIRST_GAP, 2 * FIRST_GAP, 4 * FIRST_GAP], abs=1e-6)
    assert gaps[-1] == LONGEST_GAP


def test_requests_refused_together_count_as_one_refusal():
    pace = Pace()
    refused(pace, NOW, retry_after="0")
    for _ in range(50):
        refused(pace, NOW + 1, sent_at=NOW - 1, retry_after="0")
    pace.reserve(NOW + 2)
    assert pace.reserve(NOW + 2) == pytest.approx(FIRST_GAP)


def test_the_gap_shrinks_with_every_success_until_it_is_gone():
    pace = Pace()
    refused(pace, retry_after="0")
    gaps = []
    for number in range(200):
        accepted(pace, NOW + number)
        pace.reserve(NOW + 2 * number)
        gaps.append(pace.reserve(NOW + 2 * number))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == 0.0


def test_other_refusals_say_nothing_of_speed():
    pace = Pace()
    pace.heard(503, {}, sent_at=NOW, now=NOW)
    assert pace.reserve(NOW) == 0.0


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1.0),
        ("250ms", 0.25),
        ("1m5s", 60.0),
        ("0.5s", 0.5),
        ("0.5m", 30.0),
        ("0.01h", 36.0),
        ("0.001h1ms", 3.601),
        ("6m0s", 60.0),
        ("23h59m59s", 60.0),
        ("9" * 400 + "s", 60.0),
        ("", 0.0),
        ("soon", 0.0),
        ("12", 0.0),
        ("s", 0.0),
        ("1d", 0.0),
        ("1.2.3s", 0.0),
        ("-3s", 0.0),
    ],
)
def test_a_used_up_allowance_holds_until_it_is_renewed(reset, seconds):
    pace = Pace()
    accepted(pace, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests=reset)
    assert pace.reserve(NOW) == pytest.approx(seconds)


def test_an_allowance_that_is_left_holds_nobody():
    pace = Pace()
    accepted(pace, x_ratelimit_remaining_requests="1", x_ratelimit_reset_requests="10s")
    assert pace.reserve(NOW) == 0.0


def test_one_refusal_slows_every_flow_of_the_account():
    driver, account = VirtualDriver(FakeService()), Account()
    driver.faults = [reply({"data": []}, **{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"})]
    driver.run(request(account, calls.jobs.listing()))
    driver.run(request(account, calls.models.listing()))
    assert driver.slept == [9.0]
    driver.run(request(Account(), calls.jobs.listing()))
    assert driver.slept == [9.0]


def test_many_requests_at_once_succeed_at_the_rate_that_the_service_allows():
    """A service that takes ten requests a second, and a hundred that start at once and try until they succeed."""
    driver, pace, allowed = VirtualDriver(FakeService()), Pace(), 10
    taken: list[float] = []
    waiting = [(0.0, number) for number in range(100)]
    sent = 0
    while waiting:
        waiting.sort()
        at, number = waiting.pop(0)
        driver.now = max(driver.now, NOW + at)
        moment = driver.now + pace.reserve(driver.now)
        sent += 1
        if len([t for t in taken if t > moment - 1]) < allowed:
            taken.append(moment)
            pace.heard(200, {}, sent_at=moment, now=moment)
        else:
            pace.heard(429, {"retry-after": "1"}, sent_at=moment, now=moment)
            waiting.append((moment - NOW + 0.001, number))
    assert len(taken) == 100
    assert sent < 160


def test_a_refusal_that_ends_up_as_an_error_still_holds_the_others():
    driver, account = VirtualDriver(FakeService()), Account()
    driver.faults = [refuse(429, "pay", code="insufficient_quota", **{"retry-after": "5"})]
    with pytest.raises(Exception, match="pay"):
        driver.run(request(account, calls.jobs.listing()))
    driver.run(request(account, calls.jobs.listing()))
    assert driver.slept == [5.0]
