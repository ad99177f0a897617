"""The five effects that a flow can yield, and a typed generator for each. `until` ends a flow from outside."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar, cast

from tuneway.calls import Request, Response
from tuneway.errors import TransportError
from tuneway.progress import Listener, News

T = TypeVar("T")


@dataclass(slots=True)
class Send:
    """Send a request. The driver sends back its `Response`, or throws a `TransportError` into the flow."""

    request: Request


@dataclass(slots=True)
class Sleep:
    """Sleep for some seconds. A wakeable sleep may end early, so the flow asks for the time afterwards."""

    seconds: float
    wakeable: bool = False


@dataclass(slots=True)
class Now:
    """Ask for the time in epoch seconds. It never jumps while a flow runs."""


@dataclass(slots=True)
class Notify:
    """Pass news to the listener of the flow, or to the listener `to`."""

    news: News
    to: Listener | None = None


@dataclass(slots=True)
class Work:
    """Do blocking local work, such as reading a file. An async driver does it in a thread."""

    run: Callable[[Listener], Any]


Effect: TypeAlias = Send | Sleep | Now | Notify | Work
Flow: TypeAlias = Generator[Effect, Any, T]


def send(request: Request) -> Flow[Response]:
    """Send a request once, without retries."""
    return cast("Response", (yield Send(request)))


def now() -> Flow[float]:
    """Get the time in epoch seconds."""
    return cast("float", (yield Now()))


def sleep(seconds: float, *, wakeable: bool = False) -> Flow[None]:
    """Sleep for some seconds. Zero or less yields no effect."""
    if seconds > 0:
        yield Sleep(seconds, wakeable)


def let_others_run() -> Flow[None]:
    """Give other tasks of the event loop a turn during long work."""
    yield Sleep(0.0)


def notify(news: News, to: Listener | None = None) -> Flow[None]:
    """Pass news to the listener of the flow, or to the listener `to`."""
    yield Notify(news, to)


def work(run: Callable[[Listener], T]) -> Flow[T]:
    """Do blocking local work; gives its result."""
    return cast("T", (yield Work(run)))


def until(ended: Callable[[], bool], flow: Flow[T]) -> Flow[T | None]:
    """Run a flow to its end, or until `ended` says so: then it is closed before its next effect, and gives None.

    All its sleeps may end early, so that it needn't sleep on.
    """
    answer: Any = None
    error: TransportError | None = None
    try:
        while not ended():
            effect = flow.send(answer) if error is None else flow.throw(error)
            answer, error = None, None
            try:
                answer = yield replace(effect, wakeable=True) if isinstance(effect, Sleep) else effect
            except TransportError as failure:
                error = failure
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()
    return None
