"""What flows know of the account that they work for: its patience, and its pace. Never its key."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuneway.errors import InvalidSpec
from tuneway.flows._pace import Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often one request is sent again when that is safe.

    Args:
        attempts: At most so many sends of one request.
        first: Seconds before the second send; doubled each time, with jitter.
        longest: The longest pause between two sends of our own choosing.
        patience: Seconds of pauses in all; a service that asks for more gets an error at once.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 20.0
    patience: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How often a waiting step looks at its job.

    The pause grows with the time already waited, so that the delay stays a small share of it; a job that
    knows its estimated finish is looked at less before, and closely around it.

    Args:
        minimum: Seconds between two looks, at least; below 1 only against this machine.
        maximum: At most, as long as the finish can't be estimated.
        growth: How much longer each pause is than the one before.
        jitter: The share by which pauses vary, so that many waits don't march in step.
        tolerance: So many failed looks in a row end a wait.
    """

    minimum: float = 5.0
    maximum: float = 60.0
    growth: float = 1.25
    jitter: float = 0.1
    tolerance: int = 8

    def __post_init__(self) -> None:
        for name, sound in (
            ("minimum", self.minimum > 0),
            ("maximum", self.maximum >= self.minimum),
            ("growth", self.growth > 1),
            ("jitter", 0 <= self.jitter < 1),
            ("tolerance", self.tolerance >= 1),
        ):
            if not sound:
                raise InvalidSpec(f"poll.{name} can't be {getattr(self, name)}", field=f"poll.{name}")


LOCAL_POLL = Poll(minimum=0.25, maximum=5.0)
"""The default against a service on this machine, where looking costs nothing."""

SETTLE, LOCAL_SETTLE = 10.0, 1.0
"""The default settle window, of a service elsewhere and of one on this machine."""

FLOOR = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account on one service, as flows see it.

    Args:
        retry: The patience of single requests.
        poll: The schedule of waiting.
        settle: Seconds in which a service is trusted to show what a request has done; by default 10, and
            1 on this machine.
        lookup_pages: A search for a job or a file gives up, and fails closed, after so many pages.
        file_limit: Bytes that one file request may carry; larger files go in parts.
        part_size: Bytes of one part.
        local: Whether the service is on this machine.
        pace: Shared by everything that the account sends.
    """

    retry: Retry = Retry()
    poll: Poll = Poll()
    settle: float | None = None
    lookup_pages: int = 100
    file_limit: int = 512 * 1024 * 1024
    part_size: int = 64 * 1024 * 1024
    local: bool = False
    pace: Pace = field(default_factory=Pace)

    @property
    def settle_window(self) -> float:
        """Seconds until a look is believed that shows nothing, or nothing more."""
        if self.settle is not None:
            return self.settle
        return LOCAL_SETTLE if self.local else SETTLE

    @property
    def poll_floor(self) -> float:
        """The shortest pause between two looks that anybody can ask for."""
        return 0.0 if self.local else FLOOR
