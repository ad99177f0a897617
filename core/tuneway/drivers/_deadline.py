"""A total time-out for blocking requests: a deadline, kept in a context variable while a request runs.

httpx's time-outs hold for each read: a server that drips a byte a second is never too slow for it. So this
deadline is looked at between the pieces of a reply, and by the network streams below httpx (`_backend`). The
async driver needs none of this: asyncio can interrupt anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx

OVER = "the total time-out is over"

_deadline: ContextVar[float | None] = ContextVar("tuneway_deadline", default=None)


@contextmanager
def total_timeout(seconds: float) -> Iterator[None]:
    """Let everything inside end within so many seconds, or by `httpx.TimeoutException`."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def start_anew(seconds: float) -> None:
    """Give the request its whole time again: a piece of its body was sent."""
    _deadline.set(time.monotonic() + seconds)


def left() -> float | None:
    """How many seconds are left, none or less when the time is over; None without a deadline."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def check() -> None:
    """Raise when the time is over."""
    seconds = left()
    if seconds is not None and seconds <= 0:
        raise httpx.ReadTimeout(OVER)
