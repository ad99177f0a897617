"""Several calls at once, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context


def in_threads(calls: Sequence[Callable[[], object]], *, end: Callable[[], object]) -> None:
    """Make all calls at once. The first error is raised, after `end` was called and the other calls have ended.

    Args:
        calls: What to call. Each call sees the context variables of this thread.
        end: Tells the calls that still run to end soon.
    """
    with ThreadPoolExecutor(len(calls), thread_name_prefix="tuneway") as pool:
        running = [pool.submit(copy_context().run, call) for call in calls]
        try:
            for one in as_completed(running):
                one.result()
        except BaseException:
            end()
            raise
