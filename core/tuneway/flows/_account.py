"""What flows know of an account: its limits, its schedules and its pace. They never have its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tuneway.calls import Request, Response, Source
from tuneway.errors import InvalidSpec
from tuneway.flows._carrier import Carrier, Marks, Suffix
from tuneway.flows._effects import Flow, send
from tuneway.flows._memory import Memory
from tuneway.flows._offers import Offers, Quote
from tuneway.flows._pace import Pace
from tuneway.models import File, JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a request is sent again when that is safe.

    Args:
        attempts: The most times that one request is sent.
        first: Seconds before the second attempt; doubled each time, with jitter.
        longest: The longest pause, in seconds, if the service doesn't ask for one.
        patience: The most seconds of all pauses together. If the service asks for more, the error is raised at once.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 20.0
    patience: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How often a wait polls its job.

    The pause grows with the time already waited, so that the delay stays a small share of it. A job with an
    estimated finish is polled rarely before that time, and often around it.

    Args:
        minimum: The shortest pause in seconds; below 1 only for a service on this machine.
        maximum: The longest pause in seconds, as long as the service doesn't estimate the finish.
        growth: The factor by which each pause is longer than the one before.
        jitter: The share by which pauses vary at random, so that many waits don't poll at the same moment.
        tolerance: The number of failed polls in a row that ends a wait.
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
"""The default for a service on this machine, where a poll costs nothing."""

SETTLE, LOCAL_SETTLE = 10.0, 1.0
"""The default settle windows: for a service elsewhere, and for one on this machine."""

FLOOR = 1.0
"""The shortest pause between two polls of a service elsewhere, whatever `Poll` says."""


class FileStore(Protocol):
    """How a service takes files, and how the data in one of its files is identified."""

    def upload(
        self,
        account: Account,
        source: Source,
        *,
        name: str,
        sha256: str,
        purpose: str,
        expires_after: int | None,
    ) -> Flow[File]:
        """Find a file with this data on the service, or send it. See `tuneway.flows.upload`."""
        ...

    def identity(self, account: Account, file_id: str) -> Flow[str]:
        """Identify the data of an uploaded file: `sha256:…`, or `file:…` with its id if the hash isn't known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account on one service, as flows see it.

    Args:
        retry: When a request is sent again.
        poll: When a wait polls its job.
        settle: The settle window: seconds after which the service is trusted to show what a request has done. The
            default is 10, and 1 for a service on this machine.
        lookup_pages: The most list pages that a search for a job or a file reads. A longer list is an error, and
            nothing is created.
        file_limit: The most bytes of a file that one request may have; larger files are sent in parts.
        part_size: The bytes of one part.
        local: Whether the service is on this machine.
        pace: The pace that all requests of the account share.
        service: The name of the service's dialect, for errors.
        exchange: Sends a request in OpenAI's terms, and gives the reply in OpenAI's JSON.
        files: How the service takes files; None for OpenAI's way.
        carrier: Where a job has the mark by which a retry finds it.
        offers: What the service can do.
        quote: Asks the service for its own price of a job, if it gives one.
        memory: What the account's submissions have learnt, which they share.
    """

    retry: Retry = Retry()
    poll: Poll = Poll()
    settle: float | None = None
    lookup_pages: int = 100
    file_limit: int = 512 * 1024 * 1024
    part_size: int = 64 * 1024 * 1024
    local: bool = False
    pace: Pace = field(default_factory=Pace)
    service: str = "openai"
    exchange: Callable[[Request], Flow[Response]] = send
    files: FileStore | None = None
    carrier: Carrier = field(default_factory=Marks)
    offers: Offers = field(default_factory=Offers)
    quote: Callable[[Account, JobSpec], Flow[Quote]] | None = None
    memory: Memory = field(default_factory=Memory)

    @property
    def settle_window(self) -> float:
        """Seconds to wait after a request before a list is trusted to show what the request has done."""
        if self.settle is not None:
            return self.settle
        return LOCAL_SETTLE if self.local else SETTLE

    @property
    def marking(self) -> Carrier:
        """The carrier that is used: the suffix, if the service turned out to drop metadata."""
        if self.carrier == Marks() and self.memory.drops_metadata and not self.memory.drops_suffix:
            return Suffix()
        return self.carrier

    @property
    def poll_floor(self) -> float:
        """The shortest pause between two polls that a setting can ask for."""
        return 0.0 if self.local else FLOOR
