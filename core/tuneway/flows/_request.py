"""One request, sent again where that is safe: tenacity's strategies and state machine, without its sleep.

What is safe depends on the request. A look (GET) may be repeated after any passing trouble. A create may
be repeated only when the service surely didn't act on it (refused for speed, or never reached); when that
can't be told, the error goes up to a flow that looks before it sends again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar, cast

from tenacity import (
    DoAttempt,
    DoSleep,
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_not_result,
    stop_after_attempt,
    wait_exponential,
    wait_random_exponential,
)

from tuneway import progress
from tuneway.calls import Call, refusal
from tuneway.errors import LookupFailed, TunewayError
from tuneway.flows._account import Account, Retry
from tuneway.flows._effects import Flow, now, send, sleep, tell

T = TypeVar("T")


def once(account: Account, call: Call[T]) -> Flow[T]:
    """Send a request once, in the account's pace, and read the reply or raise what it means."""
    started = yield from now()
    yield from sleep(account.pace.reserve(started))
    sent_at = yield from now()
    response = yield from send(call.request)
    heard_at = yield from now()
    account.pace.heard(response.status, response.headers, sent_at=sent_at, now=heard_at)
    error = refusal(response, heard_at)
    if error is not None:
        raise error
    return call.parse(response)


def request(account: Account, call: Call[T]) -> Flow[T]:
    """Send a request, and again as far as that is safe and the account's patience goes."""
    retrying = Retrying(
        retry=retry_if_exception(_cured_by_waiting(repeatable=call.request.repeatable)),
        wait=_as_asked_or_longer_each_time(account.retry),
        stop=_spent(account.retry),
        reraise=True,
    )
    return (yield from attempts(retrying, lambda: once(account, call)))


def attempts(retrying: Retrying, attempt: Callable[[], Flow[T]]) -> Flow[T]:
    """Run a tenacity policy over a flow: it says what comes next, the driver does the sleeping."""
    retrying.begin()
    state = RetryCallState(retrying, None, (), {})
    while True:
        step = retrying.iter(state)
        if isinstance(step, DoAttempt):
            try:
                state.set_result((yield from attempt()))
            except Exception:  # noqa: BLE001 - tenacity decides, and raises it again
                state.set_exception(sys.exc_info())  # type: ignore[arg-type]
        elif isinstance(step, DoSleep):
            yield from _tell_why(state)
            yield from sleep(step)
            state.prepare_for_next_attempt()
        else:
            return cast("T", step)


def settling(account: Account, look: Callable[[], Flow[T | None]]) -> Flow[T | None]:
    """Look again and again until it gives something, as long as the service may need to show what it has."""
    looking = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_exponential(multiplier=0.5, max=5),
        stop=lambda state: state.idle_for >= account.settle_window,
        retry_error_callback=lambda _state: None,
    )
    return (yield from attempts(looking, look))


def unreadable(what: str, error: TunewayError) -> LookupFailed:
    """A look that couldn't be done: what exists can't be told, and that isn't "nothing"."""
    failure = LookupFailed(
        f"can't tell {what}: {error.message}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        hint=error.hint or "Try again when the service answers: a retry starts with a look and pays nothing twice.",
    )
    failure.retryable = error.retryable
    return failure


def _cured_by_waiting(*, repeatable: bool) -> Callable[[BaseException], bool]:
    def decide(error: BaseException) -> bool:
        return isinstance(error, TunewayError) and error.retryable and (repeatable or error.processed is False)

    return decide


def _as_asked_or_longer_each_time(retry: Retry) -> Callable[[RetryCallState], float]:
    """The service's own wish counts; without one, pauses grow, at random within a growing bound."""
    grow = wait_random_exponential(multiplier=retry.first, max=retry.longest)

    def wait(state: RetryCallState) -> float:
        asked = getattr(_error(state), "retry_after", None)
        return grow(state) if asked is None else float(asked)

    return wait


def _spent(retry: Retry) -> Callable[[RetryCallState], bool]:
    """Whether attempts or patience are used up; patience is counted in pauses, since flows have no clock."""
    enough = stop_after_attempt(retry.attempts)
    return lambda state: enough(state) or state.idle_for + state.upcoming_sleep > retry.patience


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _tell_why(state: RetryCallState) -> Flow[None]:
    error = _error(state)
    if isinstance(error, TunewayError):
        yield from tell(progress.Retrying(error, state.upcoming_sleep, state.attempt_number))
