"""One event loop for all steps of a process, on a thread of its own.

Prefect runs each submitted task in its own thread, and an async one in its own loop as well, so tasks can't share a
client there. On this loop they share the client, its connections and its poll: two hundred waits cost about as much
as one. A thread that waits for an answer from the loop can be interrupted.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from prefect_tuneway._runs import is_cancelled, step_aside

if TYPE_CHECKING:
    from tuneway import AsyncClient
    from tuneway.progress import Listener, News

T = TypeVar("T")

Service = Callable[["AsyncClient", "Listener"], Awaitable[T]]
"""A request to the service, which reports its news as it goes."""

SLICE = 1.0
"""Seconds between two looks of a blocked thread at whether its run was cancelled or suspended."""

_lock = threading.Lock()
_rooms: dict[int, asyncio.AbstractEventLoop] = {}


def serve(settings: Mapping[str, Any], service: Service[T], hear: Callable[[list[News]], object]) -> T:
    """Run a request to the service on the loop; this thread hears the news and can be interrupted."""
    inbox: queue.SimpleQueue[News | None] = queue.SimpleQueue()
    future = _begin(settings, service, inbox.put)
    future.add_done_callback(lambda _: inbox.put(None))
    try:
        done = False
        while not done:
            try:
                batch = [inbox.get(timeout=SLICE)]
            except queue.Empty:
                _end_if_asked()
                continue
            with suppress(queue.Empty):
                while True:
                    batch.append(inbox.get_nowait())
            done = None in batch
            hear([news for news in batch if news is not None])
    except BaseException:
        future.cancel()
        raise
    return future.result()


async def aserve(settings: Mapping[str, Any], service: Service[T], hear: Callable[[list[News]], object]) -> T:
    """`serve`, to be awaited. The news is heard in a thread, since hearing it may ask Prefect's API."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[News | None] = asyncio.Queue()

    def post(news: News | None) -> None:
        with suppress(RuntimeError):  # the waiting loop is closed
            loop.call_soon_threadsafe(inbox.put_nowait, news)

    future = _begin(settings, service, post)
    future.add_done_callback(lambda _: post(None))
    try:
        done = False
        while not done:
            try:
                async with asyncio.timeout(SLICE):  # `wait_for` of Python 3.11 loses a cancel that meets news
                    batch = [await inbox.get()]
            except TimeoutError:
                _end_if_asked()
                continue
            while not inbox.empty():
                batch.append(inbox.get_nowait())
            done = None in batch
            heard = [news for news in batch if news is not None]
            if heard:
                await asyncio.to_thread(hear, heard)
    except BaseException:
        future.cancel()
        raise
    return future.result()


def _begin(
    settings: Mapping[str, Any], service: Service[T], tell: Callable[[News], object]
) -> concurrent.futures.Future[T]:
    from tuneway.client.lending import lease

    async def work() -> T:
        async with lease(settings) as client:
            return await service(client, tell)

    return asyncio.run_coroutine_threadsafe(work(), _loop())


def _loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; a forked process starts its own."""
    with _lock:
        loop = _rooms.get(os.getpid())
        if loop is None:
            loop = _rooms[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="tuneway", daemon=True).start()
        return loop


def _end_if_asked() -> None:
    step_aside()
    if is_cancelled():
        raise asyncio.CancelledError("the flow run that this step is part of was ended")
