"""Send a request, and send it again where that is safe, by tenacity's strategies and state machine.

What is safe depends on the request. One that only reads is sent again after any temporary error. A create is sent
again only if the service surely didn't act on it: it refused with a 429, or was never reached. If that is unknown,
the error is raised to a flow, which reads the list before it sends again.
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
from tuneway.errors import BadReply, LookupFailed, TunewayError
from tuneway.flows._account import Account, Retry
from tuneway.flows._effects import Flow, notify, now, sleep
from tuneway.flows._marks import read

T = TypeVar("T")


def once(account: Account, call: Call[T]) -> Flow[T]:
    """Send a request once, in the account's pace; gives the parsed reply, or raises the error that it stands for."""
    started = yield from now()
    yield from sleep(account.pace.reserve(started))
    sent_at = yield from now()
    response = yield from account.exchange(call.request)
    heard_at = yield from now()
    account.pace.heard(response.status, response.headers, sent_at=sent_at, now=heard_at)
    account.memory.heard(response.headers, heard_at)
    error = None
    if response.status not in call.request.answers:
        error = refusal(response, heard_at, repeatable=call.request.repeatable)
    if error is not None:
        raise error
    reply = call.parse(response)
    account.pace.understood = True
    return read(account.marking, reply)


def request(account: Account, call: Call[T]) -> Flow[T]:
    """Send a request, and send it again where that is safe, within the limits of the account's `Retry`."""
    retrying = Retrying(
        retry=retry_if_exception(_may_send_again(account, repeatable=call.request.repeatable)),
        wait=_pause_before_next(account.retry),
        stop=_exhausted(account.retry),
        reraise=True,
    )
    return (yield from attempts(retrying, lambda: once(account, call)))


def attempts(retrying: Retrying, attempt: Callable[[], Flow[T]]) -> Flow[T]:
    """Repeat a flow by a tenacity policy. The policy decides what comes next; the driver sleeps."""
    retrying.begin()
    state = RetryCallState(retrying, None, (), {})
    while True:
        step = retrying.iter(state)
        if isinstance(step, DoAttempt):
            try:
                state.set_result((yield from attempt()))
            except Exception:  # noqa: BLE001 - tenacity decides whether to raise it again
                state.set_exception(sys.exc_info())  # type: ignore[arg-type]
        elif isinstance(step, DoSleep):
            yield from _tell_retry(state)
            yield from sleep(step)
            state.prepare_for_next_attempt()
        else:
            return cast("T", step)


def settling(account: Account, look: Callable[[], Flow[T | None]]) -> Flow[T | None]:
    """Repeat `look` until it gives a result, for at most the settle window; None if it never does."""
    looking = Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_exponential(multiplier=0.5, max=5),
        stop=lambda state: state.idle_for >= account.settle_window,
        retry_error_callback=lambda _state: None,
    )
    return (yield from attempts(looking, look))


def unreadable(what: str, error: TunewayError) -> LookupFailed:
    """Make the error for a list that couldn't be read. An unreadable list must not count as an empty one."""
    failure = LookupFailed(
        f"can't find out {what}: {error.message}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        hint=error.hint or "Try again when the service answers: a retry reads the list first, and pays nothing twice.",
    )
    failure.retryable = error.retryable
    return failure


def still_ending(job_id: str) -> LookupFailed:
    """Make the error for a job that is being cancelled for longer than the settle window."""
    return LookupFailed(
        f"{job_id} is still being cancelled, so no other job was created",
        hint="Try again when it has ended.",
    )


def _may_send_again(account: Account, *, repeatable: bool) -> Callable[[BaseException], bool]:
    """Whether to send a request again at once.

    A web page instead of the first reply most likely means a wrong base URL, which is reported without delay. Later
    ones mean a proxy, whose trouble passes. It may have been that already, so an engine's retry is right in both cases.
    """

    def decide(error: BaseException) -> bool:
        if isinstance(error, BadReply) and error.page and not account.pace.understood:
            return False
        return isinstance(error, TunewayError) and error.retryable and (repeatable or error.processed is False)

    return decide


def _pause_before_next(retry: Retry) -> Callable[[RetryCallState], float]:
    """The pause that the service asks for; without one, a random pause below a bound that grows."""
    grow = wait_random_exponential(multiplier=retry.first, max=retry.longest)

    def wait(state: RetryCallState) -> float:
        asked = getattr(_error(state), "retry_after", None)
        return grow(state) if asked is None else float(asked)

    return wait


def _exhausted(retry: Retry) -> Callable[[RetryCallState], bool]:
    """Whether attempts or patience are used up. Patience counts the pauses only, since flows have no clock."""
    enough = stop_after_attempt(retry.attempts)
    return lambda state: enough(state) or state.idle_for + state.upcoming_sleep > retry.patience


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _tell_retry(state: RetryCallState) -> Flow[None]:
    error = _error(state)
    if isinstance(error, TunewayError):
        yield from notify(progress.Retrying(error, state.upcoming_sleep, state.attempt_number))
