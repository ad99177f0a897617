"""One request: what is repeated, how often, after which pause, and what is an error at once."""

from __future__ import annotations

import email.utils

import pytest
from support.fake_service import FakeService, refuse
from support.virtual_driver import VirtualDriver

from tuneway import calls
from tuneway.calls import Call, Request, Response
from tuneway.errors import (
    BadReply,
    BadRequest,
    Conflict,
    ConnectionFailed,
    ConnectionLost,
    Forbidden,
    InvalidSpec,
    NotFound,
    QuotaExhausted,
    RateLimited,
    RequestTimeout,
    ServerError,
    TrainingNotAvailable,
    Unauthorized,
    Unprocessable,
)
from tuneway.flows import Account, Retry, request
from tuneway.progress import Retrying

LOOK = calls.jobs.listing()
CREATE = calls.jobs.create({"model": "base", "training_file": "file-1"})

PAGE = Response(200, {"content-type": "text/html"}, b"<html>")

PASSING = {
    "429": (refuse(429, "slow down"), RateLimited),
    "refused": (ConnectionFailed("nobody there"), ConnectionFailed),
    "lost": (ConnectionLost("gone"), ConnectionLost),
    "timed out": (RequestTimeout("too slow"), RequestTimeout),
    "408": (refuse(408, "too slow"), ServerError),
    "409": (refuse(409, "busy"), Conflict),
    "500": (refuse(500, "oh"), ServerError),
    "503": (refuse(503, "in trouble"), ServerError),
    "cut": (Response(200, {}, b'{"data": ['), BadReply),
    "400, retry": (refuse(400, "hm", **{"x-should-retry": "true"}), BadRequest),
}
LASTING = {
    "400": (refuse(400, "hm"), BadRequest),
    "401": (refuse(401, "who?"), Unauthorized),
    "403": (refuse(403, "no"), Forbidden),
    "403 closed": (refuse(403, "no", code="training_not_available"), TrainingNotAvailable),
    "404": (refuse(404, "where?"), NotFound),
    "html": (PAGE, BadReply),
    "html, 404": (Response(404, {"content-type": "text/html"}, b"<html>Not Found</html>"), BadReply),
    "html, 405": (Response(405, {}, b"\n <!doctype html>"), BadReply),
    "text, 404": (Response(404, {"content-type": "text/plain"}, b"404 page not found"), BadReply),
    "404, nothing": (Response(404, {}, b""), NotFound),
    "418": (refuse(418, "tea"), BadRequest),
    "422": (refuse(422, "hm"), Unprocessable),
    "quota": (refuse(429, "pay", code="insufficient_quota"), QuotaExhausted),
    "quota by type": (Response(429, {}, b'{"error": {"type": "insufficient_quota", "code": null}}'), QuotaExhausted),
    "daily": (refuse(429, "tomorrow", code="daily_rate_limit_exceeded"), QuotaExhausted),
    "daily, as 400": (refuse(400, "tomorrow", code="daily_rate_limit_exceeded"), QuotaExhausted),
    "quota, retry": (refuse(429, "pay", code="insufficient_quota", **{"x-should-retry": "true"}), QuotaExhausted),
    "503, never": (refuse(503, "no", **{"x-should-retry": "false"}), ServerError),
    "429, never": (refuse(429, "no", **{"x-should-retry": "false"}), RateLimited),
}
# What a create repeats: only what was surely not processed.
NOT_PROCESSED = {"429", "refused", "400, retry"}


def run(call, *faults, **retry):
    driver = VirtualDriver(FakeService(), list(faults))
    account = Account(retry=Retry(**retry))
    try:
        return driver, driver.run(request(account, call))
    except Exception as error:  # noqa: BLE001 - the tests look at it
        return driver, error


@pytest.mark.parametrize("name", PASSING)
def test_a_look_is_repeated_after_any_trouble_that_passes(name):
    fault, _ = PASSING[name]
    driver, page = run(LOOK, fault, fault)
    assert page.data == []
    assert [trail for trail in driver.trail if trail.startswith("GET")] == ["GET /fine_tuning/jobs"] * 3


@pytest.mark.parametrize("name", LASTING)
def test_a_look_is_not_repeated_when_waiting_will_not_help(name):
    fault, kind = LASTING[name]
    driver, error = run(LOOK, fault)
    assert type(error) is kind
    assert error.retryable is (fault is PAGE)  # it may be a proxy's: an engine tries again
    assert driver.slept == []


@pytest.mark.parametrize("name", ["html", "html, 404", "html, 405"])
def test_a_web_page_instead_of_the_api_is_explained(name):
    fault, _ = LASTING[name]
    for call in (LOOK, CREATE):
        _, error = run(call, fault)
        assert "answered with a web page, not with JSON" in error.message
        assert error.hint.startswith("Is /v1 missing from base_url?")
        assert error.processed is (None if fault is PAGE else False)


def test_a_web_page_among_replies_of_the_api_is_a_proxys_trouble_which_passes():
    driver = VirtualDriver(FakeService(), [None, PAGE, PAGE])
    account = Account()
    for _ in range(2):
        assert driver.run(request(account, LOOK)).data == []
    assert driver.trail.count("GET /fine_tuning/jobs") == 4


def test_a_path_that_the_service_does_not_know_is_explained():
    _, error = run(LOOK, refuse(404, "Unknown request URL", code="unknown_url"))
    assert type(error) is NotFound
    assert error.hint.startswith("Is /v1 missing from base_url?")


@pytest.mark.parametrize("name", PASSING)
def test_a_create_is_repeated_only_when_it_was_surely_not_processed(name):
    fault, kind = PASSING[name]
    driver, outcome = run(CREATE, fault)
    if name in NOT_PROCESSED:
        assert outcome.id == "ftjob-1"
        assert len(driver.service.log) == 1
    else:
        assert type(outcome) is kind
        assert outcome.processed is None
        assert driver.service.log == []


@pytest.mark.parametrize("name", LASTING)
def test_a_create_is_not_repeated_either_when_waiting_will_not_help(name):
    fault, kind = LASTING[name]
    driver, error = run(CREATE, fault)
    assert type(error) is kind
    assert driver.slept == []


def test_attempts_are_limited_and_the_last_error_is_the_one_raised():
    faults = [refuse(503, f"trouble {number}") for number in range(1, 10)]
    driver, error = run(LOOK, *faults, attempts=4)
    assert "trouble 4" in str(error)
    assert driver.trail.count("GET /fine_tuning/jobs") == 4


def test_pauses_grow_at_random_within_a_growing_bound():
    for _ in range(50):
        driver, error = run(LOOK, *[refuse(503, "in trouble")] * 9, attempts=8, first=1.0, longest=8.0)
        assert isinstance(error, ServerError)
        bounds = [1, 2, 4, 8, 8, 8, 8]
        assert all(0 <= pause <= bound for pause, bound in zip(driver.slept, bounds, strict=True))


def test_pauses_differ_between_two_that_fail_together():
    one, _ = run(LOOK, *[refuse(503, "in trouble")] * 9)
    two, _ = run(LOOK, *[refuse(503, "in trouble")] * 9)
    assert one.slept != two.slept


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": email.utils.formatdate(1_000_030, usegmt=True)}, 30.0),
    ],
)
def test_the_pause_that_the_service_asks_for_counts(headers, pause):
    driver, page = run(LOOK, refuse(503, "in trouble", **headers))
    assert page.data == []
    assert driver.slept == [pytest.approx(pause)]


@pytest.mark.parametrize("asked", ["0", email.utils.formatdate(999_000, usegmt=True)])
def test_a_retry_after_of_zero_or_in_the_past_is_no_pause(asked):
    driver, page = run(LOOK, refuse(503, "in trouble", **{"retry-after": asked}))
    assert page.data == []
    assert driver.slept == []


@pytest.mark.parametrize("asked", ["-5", "nan", "inf", "1e12", "soon", "", "Fri, 99 Nov 2026 00:00:00 GMT"])
def test_an_invalid_retry_after_is_ignored(asked):
    driver, page = run(LOOK, refuse(503, "in trouble", **{"retry-after": asked}))
    assert page.data == []
    (pause,) = driver.slept
    assert 0 < pause <= 0.5


@pytest.mark.parametrize("asked", ["121", "86400", email.utils.formatdate(2_000_000, usegmt=True)])
def test_a_retry_after_beyond_the_patience_is_an_error_at_once(asked):
    driver, error = run(LOOK, refuse(503, "in trouble", **{"retry-after": asked}))
    assert isinstance(error, ServerError)
    assert (error.retry_after or 0) > 120
    assert driver.slept == []


def test_patience_counts_all_pauses_together():
    driver, error = run(LOOK, *[refuse(503, "in trouble", **{"retry-after": "40"})] * 9, patience=100.0)
    assert isinstance(error, ServerError)
    assert driver.slept == [40.0, 40.0]


def test_patience_is_used_to_its_end():
    driver, _ = run(LOOK, *[refuse(503, "in trouble", **{"retry-after": "40"})] * 9, patience=120.0)
    assert driver.slept == [40.0, 40.0, 40.0]


def test_every_repetition_is_told_with_its_reason():
    driver, _ = run(LOOK, refuse(503, "in trouble", **{"retry-after": "2"}), ConnectionLost("gone"))
    first, second = driver.heard(Retrying)
    assert str(first) == "attempt 1 failed, trying again in 2.0 s: in trouble"
    assert (second.attempt, second.error.message) == (2, "gone")


def test_an_error_that_is_not_of_our_tree_is_not_repeated():
    driver, error = run(LOOK, RuntimeError("a bug"))
    assert isinstance(error, RuntimeError)
    assert driver.slept == []


def test_an_id_that_cannot_be_one_is_refused_before_anything_is_sent():
    with pytest.raises(InvalidSpec):
        calls.jobs.retrieve("..")


def test_a_status_that_is_an_answer_is_read_as_one():
    call = Call(Request("POST", "/files", answers=frozenset({409})), lambda reply: reply.content)
    driver = VirtualDriver(FakeService(), [Response(409, {}, b'{"file_id": "file-1"}')])
    assert driver.run(request(Account(), call)) == b'{"file_id": "file-1"}'
