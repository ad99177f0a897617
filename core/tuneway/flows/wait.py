"""A wait for one job, as a state machine without a clock or a connection.

A `Wait` is told what a look at its job gave, and knows what that means and when to look again. Who looks,
and for how many waits at once, is `watch`'s business. Terminal is absorbing: no later look, however
stale, changes an end that was seen.

Its whole state is small: job id, deadline, last event. That is the resume token which engines keep.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from tuneway import progress
from tuneway.errors import (
    ApiError,
    InvalidInput,
    JobCancelled,
    JobFailed,
    NotFound,
    TunewayError,
    WaitTimeout,
)
from tuneway.flows._account import Account
from tuneway.flows._token import WaitToken
from tuneway.models import Job, Phase
from tuneway.progress import Listener

APPROACH = 2 / 3
"""So much of the way to the estimated finish goes by before the next look: ever closer looks around it."""

LONGEST_AIM = 420.0
"""However far away the estimated finish is, a wait looks this often: estimates are wrong, people cancel."""

MOST_HASTE = 4.0
"""So many times as often, at most, is looked at a job whose look is shared."""

EARLY = 0.25
"""A wait joins another's look when no more than this share of its own pause is left."""

NAMING_LOOKS = 3
"""Further looks that a succeeded job gets to show the name of its model; some services never do."""


class WaitState(Enum):
    """Where a wait stands."""

    WATCHING = auto()
    NAMING = auto()
    SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()
    EXPIRED = auto()
    LOST = auto()


class WaitSight(Enum):
    """What a look gave."""

    ALIVE = auto()
    NAMELESS = auto()
    SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()
    UNREADABLE = auto()
    HOPELESS = auto()
    LATE = auto()


_W, _N, _S, _F, _C, _E, _L = WaitState
TRANSITIONS: dict[WaitState, dict[WaitSight, WaitState]] = {
    #               ALIVE  NAMELESS  SUCCEEDED  FAILED  CANCELLED  UNREADABLE  HOPELESS  LATE
    state: dict(zip(WaitSight, row, strict=True))
    for state, row in {
        WaitState.WATCHING: (_W, _N, _S, _F, _C, _W, _L, _E),
        WaitState.NAMING: (_N, _N, _S, _N, _N, _N, _S, _S),
        WaitState.SUCCEEDED: (_S,) * 8,
        WaitState.FAILED: (_F,) * 8,
        WaitState.CANCELLED: (_C,) * 8,
        WaitState.EXPIRED: (_E,) * 8,
        WaitState.LOST: (_L,) * 8,
    }.items()
}


@dataclass(eq=False)
class Wait:
    """One wait.

    Args:
        account: Whose schedule counts.
        token: The job, the deadline and the last event told.
        listener: Who is told of the end, and of all else when it follows.
        follows: Whether somebody wants to hear what happens meanwhile; else the job's log isn't read.
    """

    account: Account
    token: WaitToken
    listener: Listener
    follows: bool = False
    state: WaitState = WaitState.WATCHING
    job: Job | None = None
    error: TunewayError | None = None
    failures: int = 0
    drained: bool = False
    drain_failures: int = 0
    read_at: float = 0.0
    due: float = 0.0
    ready: float = 0.0
    _since: float | None = None
    _naming_looks: int = 0

    @property
    def ended(self) -> bool:
        """Whether the end is known."""
        return self.state not in (WaitState.WATCHING, WaitState.NAMING)

    def see(self, seen: Job | TunewayError, now: float, *, sharers: float = 1.0) -> None:
        """Take in what a look gave, and decide when to look again.

        `sharers` is how many waits each request of this look served: what is shared may be had more often.
        """
        if self.ended:
            return
        sight = self._judge(seen, now)
        if isinstance(seen, Job):
            self.failures = 0
            if self.job is None or self.job.status != seen.status:
                self._since = now
            if self.state is WaitState.WATCHING or seen.fine_tuned_model:
                self.job = seen
        else:
            self.failures += 1
            self.error = seen
        self.state = TRANSITIONS[self.state][sight]
        pause = self._pause(seen, now, min(sharers, MOST_HASTE))
        self.due, self.ready = now + pause, now + pause * (1 - EARLY)

    def _judge(self, seen: Job | TunewayError, now: float) -> WaitSight:
        sight = _sight_of_job(seen) if isinstance(seen, Job) else self._sight_of_error(seen)
        late = self.token.deadline is not None and now >= self.token.deadline
        if self.state is WaitState.NAMING:
            self._naming_looks += 1
            return WaitSight.LATE if late or self._naming_looks >= NAMING_LOOKS else sight
        if late and sight is WaitSight.NAMELESS:
            return WaitSight.SUCCEEDED
        return WaitSight.LATE if late and sight in (WaitSight.ALIVE, WaitSight.UNREADABLE) else sight

    def _sight_of_error(self, error: TunewayError) -> WaitSight:
        """Trouble passes; a wait gives up when it doesn't. Not found right after a create passes too."""
        refused = isinstance(error, ApiError) and not error.retryable and not isinstance(error, NotFound)
        last = self.failures + 1 >= self.account.poll.tolerance
        return WaitSight.HOPELESS if refused or last else WaitSight.UNREADABLE

    def _pause(self, seen: Job | TunewayError, now: float, haste: float) -> float:
        """Seconds until the next look."""
        poll, floor = self.account.poll, max(self.account.poll.minimum, self.account.poll_floor)
        waited = 0.0 if self._since is None else now - self._since
        pause = max(min(waited * (poll.growth - 1), poll.maximum) / haste, floor)
        pause = max(pause, min(floor * 2.0 ** min(self.failures - 1, 16), poll.maximum))
        estimate = self.job.estimated_finish if self.job is not None else None
        if estimate is not None and estimate > now and self.state is WaitState.WATCHING:
            # looking costs nothing on this machine, and its first estimates are rough
            longest = poll.maximum if self.account.local else max(LONGEST_AIM, poll.maximum)
            pause = min(max((estimate - now) * APPROACH, floor), longest)
        if self.state is WaitState.NAMING:
            pause = floor
        pause *= 1 + random.uniform(-poll.jitter, poll.jitter)  # noqa: S311 - spreads load, guards nothing
        asked = getattr(seen, "retry_after", None)
        pause = max(pause, self.account.poll_floor, min(asked or 0.0, LONGEST_AIM))
        if self.token.deadline is not None and now < self.token.deadline:
            pause = min(pause, self.token.deadline - now)
        return pause

    def result(self) -> Job:
        """What the wait was for: the succeeded job, or the error that says why there is none."""
        error = self.failure()
        if error is not None:
            raise error
        assert self.job is not None
        return self.job

    def failure(self) -> TunewayError | None:
        """Why there is no model; None when there is one."""
        explain = EXPLAIN.get(self.state)
        return explain(self) if explain else None

    def news_of_end(self) -> progress.Finished:
        """The last thing told."""
        return progress.Finished(self.token.job_id, self.job, self.failure())


def _sight_of_job(job: Job) -> WaitSight:
    match job.phase:
        case Phase.SUCCEEDED:
            return WaitSight.SUCCEEDED if job.fine_tuned_model else WaitSight.NAMELESS
        case Phase.FAILED:
            return WaitSight.FAILED
        case Phase.CANCELLED:
            return WaitSight.CANCELLED
        case _:
            return WaitSight.ALIVE


def _failed(wait: Wait) -> TunewayError:
    fault = wait.job.error if wait.job is not None else None
    reason = (fault.message if fault else None) or "the service gives no reason; its events may"
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
        hint="If nobody did so on purpose, submit again: another job for the same work may have replaced it.",
    )


def _expired(wait: Wait) -> TunewayError:
    status = wait.job.status if wait.job is not None else "not seen"
    return WaitTimeout(
        f"{wait.token.job_id} didn't end before the deadline ({status})",
        job=wait.job,
        job_id=wait.token.job_id,
        hint=f"The job goes on, and is paid for. Wait on: `tuneway wait {wait.token.job_id}`; or cancel it.",
    )


def _lost(wait: Wait) -> TunewayError:
    assert wait.error is not None
    return wait.error.about(wait.token.job_id)


EXPLAIN: dict[WaitState, Callable[[Wait], TunewayError]] = {
    WaitState.FAILED: _failed,
    WaitState.CANCELLED: _cancelled,
    WaitState.EXPIRED: _expired,
    WaitState.LOST: _lost,
}


def deadline_after(timeout: float | None, now: float) -> float | None:
    """An absolute deadline from a time-out; None means no deadline."""
    if timeout is None or timeout == math.inf:
        return None
    if not timeout >= 0:
        raise InvalidInput(f"timeout can't be {timeout}")
    return now + timeout
