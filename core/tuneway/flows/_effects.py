"""What a flow can ask of its driver: five effects, and typed ways to ask."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from tuneway.calls import Request, Response
from tuneway.progress import Listener, News

T = TypeVar("T")


@dataclass(slots=True)
class Send:
    """Send a request; answered by its `Response`, or by a `TransportError` thrown in."""

    request: Request


@dataclass(slots=True)
class Sleep:
    """Do nothing for so long. A wakeable sleep may end early: whoever asks looks at the clock again."""

    seconds: float
    wakeable: bool = False


@dataclass(slots=True)
class Now:
    """Ask for the time: epoch seconds that never jump while a flow runs."""


@dataclass(slots=True)
class Tell:
    """Pass on news, to whoever started the flow unless it's meant for somebody else."""

    news: News
    to: Listener | None = None


@dataclass(slots=True)
class Work:
    """Do blocking local work (read and check a file); an async driver does it in a thread."""

    run: Callable[[Listener], Any]


Effect: TypeAlias = Send | Sleep | Now | Tell | Work
Flow: TypeAlias = Generator[Effect, Any, T]


def send(request: Request) -> Flow[Response]:
    """Send one request once."""
    return cast("Response", (yield Send(request)))


def now() -> Flow[float]:
    """The time, as epoch seconds."""
    return cast("float", (yield Now()))


def sleep(seconds: float, *, wakeable: bool = False) -> Flow[None]:
    """Wait; nothing happens when there's nothing to wait for."""
    if seconds > 0:
        yield Sleep(seconds, wakeable)


def breathe() -> Flow[None]:
    """Let others have their turn, in the midst of much to do."""
    yield Sleep(0.0)


def tell(news: News, to: Listener | None = None) -> Flow[None]:
    """Pass on news."""
    yield Tell(news, to)


def work(run: Callable[[Listener], T]) -> Flow[T]:
    """Have blocking local work done."""
    return cast("T", (yield Work(run)))
