"""A driver without sockets and without sleep: time passes only when a flow sleeps."""

# mypy: warn-return-any=False

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from support.fake_service import FakeService

from tuneway.calls import Request, Response
from tuneway.errors import TransportError
from tuneway.flows import Flow, Notify, Now, Send, Sleep, Work
from tuneway.progress import CreatePlanned, News, Settling

T = TypeVar("T")


class Crashed(BaseException):
    """The process that ran a flow is gone."""


Exchange = Callable[[Request], Response]


@dataclass
class VirtualDriver:
    """Runs flows against a fake service, in virtual time.

    Args:
        service: Who answers.
        faults: One per request, in order: None lets it through, a callable decides what comes back (it is
            given the request and the honest way to the service), an exception is raised instead.
        trouble: The same for one kind of request each: `{"POST /fine_tuning/jobs": [lost_after(…)]}`.
        naps: After so many seconds, in turn, the sleeps that may end early do.
        at: Things that happen behind the service's door when their time has come.
    """

    service: FakeService
    faults: list[Any] = field(default_factory=list)
    trouble: dict[str, list[Any]] = field(default_factory=dict)
    now: float = 1_000_000.0
    told: list[News] = field(default_factory=list)
    naps: list[float] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    breaths: int = 0  # how often a flow let others have a turn
    trail: list[str] = field(default_factory=list)  # what happened, in order, to be read
    at: dict[float, Callable[[], object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.service.clock = lambda: self.now

    def run(self, flow: Flow[T], *, dies_at: int | None = None) -> T:
        """Run a flow to its end, or until its process dies when it asks for its so-many-th effect."""
        answer: Any = None
        error: BaseException | None = None
        for number in itertools.count(1):
            try:
                effect = flow.throw(error) if error else flow.send(answer)
            except StopIteration as end:
                return end.value
            answer, error = None, None
            if number == dies_at:
                flow.close()
                raise Crashed(effect)
            match effect:
                case Send():
                    try:
                        answer = self.exchange(effect.request)
                    except TransportError as failure:
                        error = failure
                case Sleep():
                    woken = effect.wakeable and self.naps
                    self.sleep(min(effect.seconds, self.naps.pop(0)) if woken else effect.seconds)
                case Now():
                    answer = self.now
                case Notify():
                    self.hear(effect)
                case Work():
                    answer = effect.run(self.told.append)
        raise AssertionError("unreachable")

    def hear(self, effect: Notify) -> None:
        """Take news in, or pass it on."""
        if not isinstance(effect.news, CreatePlanned | Settling):  # the request or sleep that follows says it
            self.trail.append(type(effect.news).__name__)
        (effect.to or self.told.append)(effect.news)

    def exchange(self, request: Request) -> Response:
        """Send a request past the next fault."""
        kind = f"{request.method} {request.path}"
        self.trail.append(kind)
        ahead = self.faults or self.trouble.get(kind)
        fault = ahead.pop(0) if ahead else None
        if fault is None:
            return self.service.handle(request)
        if isinstance(fault, BaseException):
            raise fault
        if isinstance(fault, Response):
            return fault
        return fault(request, self.service.handle)

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        if seconds == 0:
            self.breaths += 1  # nobody else is here who could have a turn
            return
        self.slept.append(seconds)
        self.trail.append(f"sleep {seconds:g}")
        until = self.now + seconds
        for moment in sorted(moment for moment in self.at if moment <= until):
            self.now = max(self.now, moment)
            self.at.pop(moment)()
        self.now = until

    def heard(self, kind: type[News]) -> list[Any]:
        """The news of one kind."""
        return [news for news in self.told if isinstance(news, kind)]


def lost_after(error: TransportError) -> Callable[[Request, Exchange], Response]:
    """The service acts, and its reply is lost."""

    def fault(request: Request, exchange: Exchange) -> Response:
        exchange(request)
        raise error

    return fault


def answered_after(response: Response) -> Callable[[Request, Exchange], Response]:
    """The service acts, and something else is heard."""

    def fault(request: Request, exchange: Exchange) -> Response:
        exchange(request)
        return response

    return fault
