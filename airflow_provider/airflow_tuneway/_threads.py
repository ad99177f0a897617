"""Blocking work of a trigger, beside the triggerer's loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work in a thread that may ask Airflow for something.

    Before Airflow 3.3 a question from a thread of `asyncio.to_thread` is asked on a loop of its own, beside the
    triggerer's. When both ask at once, each reads the other's answer, and the triggerer ends. From a thread of asgiref
    the question is asked on the triggerer's loop.
    """
    return await sync_to_async(work, thread_sensitive=False)(*args, **kwargs)
