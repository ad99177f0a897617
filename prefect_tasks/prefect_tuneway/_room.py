"""One loop for all steps of a process, on a thread of its own.

Prefect runs a submitted task in a thread of its own, and an async one in a loop of its own besides: what
they share they can't share there. Here they share a client, its connections and its poll, so that two
hundred waits cost about as much as one; and whoever waits for an answer can be interrupted.
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

from prefect_tuneway._runs import is_cancelled

if TYPE_CHECKING:
    from tuneway import AsyncClient
    from tuneway.progress import Listener, News

T = TypeVar("T")

Service = Callable[["AsyncClient", "Listener"], Awaitable[T]]
"""What is done at the service, told as it goes."""

SLICE = 1.0
"""Seconds after which a blocked thread looks up whether its run was cancelled."""

_lock = threading.Lock()
_rooms: dict[int, asyncio.AbstractEventLoop] = {}


def serve(settings: Mapping[str, Any], service: Service[T], hear: Callable[[list[News]], object]) -> T:
    """Do something at the service; this thread hears the news, and can be interrupted."""
    inbox: queue.SimpleQueue[News | None] = queue.SimpleQueue()
    future = _begin(settings, service, inbox.put)
    future.add_done_callback(lambda _: inbox.put(None))
    try:
        done = False
        while not done:
            try:
                batch = [inbox.get(timeout=SLICE)]
            except queue.Empty:
                _end_if_cancelled()
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
    """The same with await; the news are heard in a thread, since Prefect's API is asked there."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[News | None] = asyncio.Queue()

    def post(news: News | None) -> None:
        with suppress(RuntimeError):  # the loop that waited is gone
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
                _end_if_cancelled()
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
    """This process's loop; a process that was forked off has none yet."""
    with _lock:
        loop = _rooms.get(os.getpid())
        if loop is None:
            loop = _rooms[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="tuneway", daemon=True).start()
        return loop


def _end_if_cancelled() -> None:
    if is_cancelled():
        raise asyncio.CancelledError("the flow run that this step is part of was ended")
