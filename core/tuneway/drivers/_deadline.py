"""A total time-out for blocking requests: a deadline in a context variable while a request runs.

httpx's time-outs apply to each read: a server that sends one byte a second never exceeds them. So this deadline is
checked between the pieces of a reply, and by the network streams below httpx (`_backend`). The async driver doesn't
need it, because asyncio can interrupt a request at any point.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

OVER = "the total time-out has passed"

_deadline: ContextVar[float | None] = ContextVar("tuneway_deadline", default=None)


@contextmanager
def total_timeout(seconds: float) -> Iterator[None]:
    """Limit the block to `seconds`; after them, network calls in it raise `httpx.TimeoutException`."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def restart(seconds: float) -> None:
    """Restart the time-out, because a piece of the request's body was sent."""
    _deadline.set(time.monotonic() + seconds)


def left() -> float | None:
    """The seconds that are left, zero or less after the deadline; None without a deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def check() -> None:
    """Raise `httpx.ReadTimeout` if the deadline has passed."""
    seconds = left()
    if seconds is not None and seconds <= 0:
        raise httpx.ReadTimeout(OVER)
