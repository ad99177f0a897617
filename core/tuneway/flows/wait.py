"""A wait for one job, as a state machine without a clock or a connection.

A `Wait` takes the results of polls, and decides what they mean and when to poll again. `watch` does the polling, for
many waits at once. A final state never changes, whatever a later or outdated poll gives.

A wait can be resumed from its job id, deadline and last event. They are the resume token that engines store.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from tuneway import progress
from tuneway._escape import excerpt, one_line
from tuneway.errors import (
    ApiError,
    InvalidSpec,
    JobCancelled,
    JobFailed,
    NotFound,
    RateLimited,
    TunewayError,
    UnknownStatus,
    WaitTimeout,
)
from tuneway.flows._account import Account
from tuneway.flows._token import WaitToken
from tuneway.models import Job, Phase
from tuneway.progress import Listener

APPROACH = 2 / 3
"""The next poll comes after this share of the time to the estimated finish, so polls get denser towards it."""

LONGEST_PAUSE = 420.0
"""The longest pause in seconds, however far away the estimated finish is: estimates can be wrong, jobs cancelled."""

MAX_SPEEDUP = 4.0
"""Upper bound on how much faster a job is polled when waits share the request."""

EARLY = 0.25
"""A wait takes part in another's poll if at most this share of its own pause is left."""

NAMING_POLLS = 3
"""How often a succeeded job is polled for the name of its model; some services never give one."""


class WaitState(Enum):
    """The states of a wait."""

    WATCHING = auto()
    NAMING = auto()  # the job has succeeded, the service doesn't name its model yet
    SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()
    EXPIRED = auto()  # the deadline has passed
    LOST = auto()  # the job can't be read
    UNCLEAR = auto()  # the job has ended, with an unknown status


class PollResult(Enum):
    """The result of a poll, which decides the next state."""

    ALIVE = auto()
    NAMELESS = auto()  # succeeded, without the name of its model
    SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()
    UNREADABLE = auto()  # the poll failed; the next one may succeed
    HOPELESS = auto()  # the poll failed, and the wait gives up
    LATE = auto()  # the deadline, or the last poll for the model's name, has passed
    UNCLEAR = auto()  # ended with an unknown status, in two polls in a row


_W, _N, _S, _F, _C, _E, _L, _U = WaitState
TRANSITIONS: dict[WaitState, dict[PollResult, WaitState]] = {
    #               ALIVE  NAMELESS  SUCCEEDED  FAILED  CANCELLED  UNREADABLE  HOPELESS  LATE  UNCLEAR
    state: dict(zip(PollResult, row, strict=True))
    for state, row in {
        WaitState.WATCHING: (_W, _N, _S, _F, _C, _W, _L, _E, _U),
        WaitState.NAMING: (_N, _N, _S, _N, _N, _N, _S, _S, _S),
        WaitState.SUCCEEDED: (_S,) * 9,
        WaitState.FAILED: (_F,) * 9,
        WaitState.CANCELLED: (_C,) * 9,
        WaitState.EXPIRED: (_E,) * 9,
        WaitState.LOST: (_L,) * 9,
        WaitState.UNCLEAR: (_U,) * 9,
    }.items()
}


@dataclass(eq=False)
class Wait:
    """One wait for one job.

    Args:
        account: The account with the schedule of polls.
        token: The job, the deadline, and the last event of its log that was passed on.
        listener: Takes the news of the end; with `follows` all other news as well.
        follows: Whether the listener wants news before the end. Without it, the job's log isn't read.
        state: The state.
        job: The job as the last poll showed it.
        reported: The job as the listener knows it: as the last news of a change had it.
        error: The error of the last poll that failed.
        failures: How many polls have failed in a row.
        drained: Whether the log of an ended job was read to its end.
        drain_failures: How many times that has failed in a row.
        read_at: When the log was last read; 0 makes it the next one to be read.
        due: When to poll again.
        ready: From when on to take part in a poll for other waits.
        unclear_since: Since when the job has ended with an unknown status; a later poll makes sure.
    """

    account: Account
    token: WaitToken
    listener: Listener
    follows: bool = False
    state: WaitState = WaitState.WATCHING
    job: Job | None = None
    reported: Job | None = None
    error: TunewayError | None = None
    failures: int = 0
    drained: bool = False
    drain_failures: int = 0
    read_at: float = 0.0
    due: float = 0.0
    ready: float = 0.0
    unclear_since: float | None = None
    _since: float | None = None
    _naming_polls: int = 0

    @property
    def ended(self) -> bool:
        """Whether the wait has ended."""
        return self.state not in (WaitState.WATCHING, WaitState.NAMING)

    def see(self, seen: Job | TunewayError, now: float, *, waits_per_request: float = 1.0) -> None:
        """Take the result of a poll, and decide when to poll again.

        `waits_per_request` says how many waits each request of this poll served. A shared poll may come more often.
        """
        if self.ended:
            return
        result = self._classify(seen, now)
        if isinstance(seen, Job):
            self.failures = 0
            if self.job is None or self.job.status != seen.status:
                self._since = now
            if not seen.unclear:
                self.unclear_since = None
            elif self.unclear_since is None:
                self.unclear_since = now
            if self.state is WaitState.WATCHING or seen.fine_tuned_model:
                self.job = seen
        else:
            self.failures += 1
            self.error = seen
        self.state = TRANSITIONS[self.state][result]
        pause = self._pause(seen, now, min(waits_per_request, MAX_SPEEDUP))
        self.due, self.ready = now + pause, now + pause * (1 - EARLY)

    def _classify(self, seen: Job | TunewayError, now: float) -> PollResult:
        result = _result_of_job(seen) if isinstance(seen, Job) else self._result_of_error(seen)
        late = self.token.deadline is not None and now >= self.token.deadline
        if self.state is WaitState.NAMING:
            self._naming_polls += 1
            return PollResult.LATE if late or self._naming_polls >= NAMING_POLLS else result
        if isinstance(seen, Job) and seen.unclear and (late or self._stays_unclear(now)):
            return PollResult.UNCLEAR
        if late and result is PollResult.NAMELESS:
            return PollResult.SUCCEEDED
        return PollResult.LATE if late and result in (PollResult.ALIVE, PollResult.UNREADABLE) else result

    def _stays_unclear(self, now: float) -> bool:
        """Whether the status has been unclear for so long that the job can't just be ending."""
        return self.unclear_since is not None and now - self.unclear_since >= self.account.poll.maximum / 2

    def _result_of_error(self, error: TunewayError) -> PollResult:
        """Classify a failed poll.

        A job that isn't found may just have been created, so that is temporary too, and so is a used-up quota.
        """
        temporary = error.retryable or isinstance(error, NotFound | RateLimited)
        refused = isinstance(error, ApiError) and not temporary
        last = self.failures + 1 >= self.account.poll.tolerance
        return PollResult.HOPELESS if refused or last else PollResult.UNREADABLE

    def _pause(self, seen: Job | TunewayError, now: float, speedup: float) -> float:
        """The seconds until the next poll."""
        poll, floor = self.account.poll, max(self.account.poll.minimum, self.account.poll_floor)
        waited = 0.0 if self._since is None else now - self._since
        pause = max(min(waited * (poll.growth - 1), poll.maximum) / speedup, floor)
        pause = max(pause, min(floor * 2.0 ** min(self.failures - 1, 16), poll.maximum))
        estimate = self.job.estimated_finish if self.job is not None else None
        if estimate is not None and estimate > now and self.state is WaitState.WATCHING:
            # a poll costs nothing on this machine, and the local service's first estimates are rough
            longest = poll.maximum if self.account.local else max(LONGEST_PAUSE, poll.maximum)
            pause = min(max((estimate - now) * APPROACH, floor), longest)
        if self.state is WaitState.NAMING:
            pause = floor
        if self.unclear_since is not None:
            pause = max(floor, self.unclear_since + poll.maximum - now)
        pause *= 1 + random.uniform(-poll.jitter, poll.jitter)  # noqa: S311 - spreads load, guards nothing
        asked = getattr(seen, "retry_after", None)
        pause = max(pause, self.account.poll_floor, min(asked or 0.0, LONGEST_PAUSE))
        if self.token.deadline is not None and now < self.token.deadline:
            pause = min(pause, self.token.deadline - now)
        return pause

    def result(self) -> Job:
        """Give the succeeded job, or raise the error that says why there is none."""
        error = self.failure()
        if error is not None:
            raise error
        assert self.job is not None
        return self.job

    def failure(self) -> TunewayError | None:
        """The error that says why there is no model; None if there is one."""
        explain = EXPLAIN.get(self.state)
        return explain(self) if explain else None

    def news_of_end(self) -> progress.Finished:
        """The news of the end, which is the last."""
        return progress.Finished(self.token.job_id, self.job, self.failure())


def _result_of_job(job: Job) -> PollResult:
    match job.phase:
        case Phase.SUCCEEDED:
            return PollResult.SUCCEEDED if job.fine_tuned_model else PollResult.NAMELESS
        case Phase.FAILED:
            return PollResult.FAILED
        case Phase.CANCELLED:
            return PollResult.CANCELLED
        case _:
            return PollResult.ALIVE


def _failed(wait: Wait) -> TunewayError:
    fault = wait.job.error if wait.job is not None else None
    reason = one_line((fault.message if fault else None) or "", 2000) or "the service gives no reason; see its events"
    return JobFailed(
        f"{wait.token.job_id} failed: {reason}",
        job=wait.job,
        code=fault.code if fault else None,
        param=fault.param if fault else None,
        hint=f"See `tuneway events {wait.token.job_id}`. Submitting again makes a new attempt, which costs again.",
    )


def _cancelled(wait: Wait) -> TunewayError:
    return JobCancelled(
        f"{wait.token.job_id} was cancelled",
        job=wait.job,
        hint="If that wasn't on purpose, submit again: another job for the same work may have replaced it.",
    )


def _unclear(wait: Wait) -> TunewayError:
    assert wait.job is not None
    word, model = repr(one_line(wait.job.status, 100)), wait.job.fine_tuned_model
    made = f"a model, {one_line(model, 200)}" if model else "no model"
    return UnknownStatus(
        f"{wait.token.job_id} has ended with the status {word}, which is unknown here; the service names {made}",
        job=wait.job,
        hint=(
            "Look up what the status means. Before you wait again, tell Tuneway, for example: "
            f"`tuneway.models.PHASES[{word}] = tuneway.models.Phase.SUCCEEDED`. "
            "The job is neither cancelled nor paid again."
        ),
    )


def _expired(wait: Wait) -> TunewayError:
    status = wait.job.status if wait.job is not None else "not seen"
    return WaitTimeout(
        f"{wait.token.job_id} didn't end before the deadline ({status})",
        job=wait.job,
        job_id=wait.token.job_id,
        hint=f"The job goes on, and costs money. Wait again with `tuneway wait {wait.token.job_id}`, or cancel it.",
    )


def _lost(wait: Wait) -> TunewayError:
    assert wait.error is not None
    return wait.error.about(wait.token.job_id)


EXPLAIN: dict[WaitState, Callable[[Wait], TunewayError]] = {
    WaitState.FAILED: _failed,
    WaitState.CANCELLED: _cancelled,
    WaitState.EXPIRED: _expired,
    WaitState.LOST: _lost,
    WaitState.UNCLEAR: _unclear,
}


def deadline_after(timeout: float | None, now: float) -> float | None:
    """Turn a time-out in seconds into a moment; None means no deadline."""
    if timeout is None or timeout == math.inf:
        return None
    given: object = timeout
    if not isinstance(given, int | float) or not given >= 0:
        raise InvalidSpec(f"timeout can't be {excerpt(timeout)}", field="timeout", hint="Give seconds, 0 or more.")
    return now + timeout
