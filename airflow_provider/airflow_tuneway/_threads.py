"""Blocking work of a trigger, beside the triggerer's loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread that may send requests to Airflow.

    Before Airflow 3.3, a request from a thread of `asyncio.to_thread` is sent on a second event loop, beside that of
    the triggerer. If both send at once, each reads the other's reply, and the triggerer crashes. From a thread of
    asgiref, the request is sent on the triggerer's own event loop.
    """
    return await sync_to_async(work, thread_sensitive=False)(*args, **kwargs)
