"""Many waits, one poll: waits of one client share one watching flow.

`AsyncWatcher` runs the flow in a task of the loop. `Watcher` needs no thread of its own: the first thread
that waits leads, and runs the flow for all; when its own jobs have ended it hands the lead to another.
Either way a listener is called where its wait was started.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence

from tuneway.drivers import AsyncDriver, Driver
from tuneway.flows import Account, Board, Wait, WaitToken, watch
from tuneway.progress import Finished, Listener, News

SLICE = 1.0
"""Seconds that a thread blocks at most, so that an engine can interrupt it."""


class _Lead(News):
    """Not news for a listener: asks a waiting thread to lead."""


class _Group:
    """The waits of one call, and what is on its way to its thread."""

    def __init__(self, account: Account, tokens: Sequence[WaitToken], listener: Listener | None) -> None:
        self.inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.listener = listener
        self.open = len(tokens)
        self.leads = False
        self.waits = [Wait(account, token, self._post, follows=listener is not None) for token in tokens]

    def _post(self, news: News) -> None:
        """Called on the leading thread: deliver at once when that is ours, else by the inbox."""
        if self.leads:
            self.deliver(news)
        else:
            self.inbox.put(news)

    def deliver(self, news: News) -> None:
        """Called on the thread that waits."""
        if isinstance(news, Finished):
            self.open -= 1
        if self.listener is not None:
            self.listener(news)


class Watcher:
    """Shares one poll among the threads that wait."""

    def __init__(self, account: Account, driver: Driver, *, nap: Callable[[float], object] | None = None) -> None:
        self._account = account
        self._driver = driver
        self._nap = nap or self._sleep_in_slices
        self._board = Board()
        self._groups: list[_Group] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def wait_all(self, tokens: Sequence[WaitToken], listener: Listener | None = None) -> list[Wait]:
        """Wait until all of these jobs have ended, well or not."""
        group = _Group(self._account, tokens, listener)
        try:
            self._join(group)
            while group.open:
                try:
                    news = group.inbox.get(timeout=SLICE)
                except queue.Empty:
                    continue
                if isinstance(news, _Lead):
                    self._lead(group)
                else:
                    group.deliver(news)
        finally:
            self._leave(group)
        return group.waits

    def _join(self, group: _Group) -> None:
        with self._lock:
            for wait in group.waits:
                self._board.add(wait)
            self._groups.append(group)
            if len(self._groups) == 1:
                group.inbox.put(_Lead())
        self._wake.set()

    def _leave(self, group: _Group) -> None:
        """Take a group's waits off the board; if it led, or was about to, somebody else must."""
        with self._lock:
            led = self._groups[:1] == [group]
            with contextlib.suppress(ValueError):  # interrupted before it joined
                self._groups.remove(group)
            for wait in group.waits:
                self._board.drop(wait)
            group.leads = False
            if led and self._groups:
                self._groups[0].inbox.put(_Lead())

    def _lead(self, group: _Group) -> None:
        """Run the flow for everybody, until our own waits are over."""
        group.leads = True
        while not group.inbox.empty():
            group.deliver(group.inbox.get())
        self._driver.run(watch(self._account, self._board, enough=lambda: not group.open), nap=self._nap)

    def _sleep_in_slices(self, seconds: float) -> None:
        if self._wake.wait(min(seconds, SLICE)):
            self._wake.clear()


class AsyncWatcher:
    """Shares one poll among the tasks that wait."""

    def __init__(self, account: Account, driver: AsyncDriver) -> None:
        self._account = account
        self._driver = driver
        self._board = Board()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._open: dict[Wait, asyncio.Future[Wait]] = {}

    async def wait(self, token: WaitToken, listener: Listener | None = None) -> Wait:
        """Wait until this job has ended, well or not."""
        future: asyncio.Future[Wait] = asyncio.get_running_loop().create_future()
        wait = Wait(self._account, token, _relay(future, listener, lambda: wait), follows=listener is not None)
        self._open[wait] = future
        self._board.add(wait)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="tuneway-watcher")
        try:
            return await future
        finally:
            self._open.pop(wait, None)
            self._board.drop(wait)
            self._wake.set()

    async def wait_all(self, tokens: Sequence[WaitToken], listener: Listener | None = None) -> list[Wait]:
        """Wait until all of these jobs have ended, well or not; a listener that raises ends all these waits."""
        waits = [asyncio.ensure_future(self.wait(token, listener)) for token in tokens]
        try:
            return await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()

    async def aclose(self) -> None:
        """Stop watching; whoever still waits is told."""
        self._end_all(self._driver.wire.closed())
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            await self._driver.run(watch(self._account, self._board), nap=self._nap)
        except Exception as error:  # noqa: BLE001 - theirs who wait, all of them
            self._end_all(error)
        except BaseException:
            for future in self._open.values():
                future.cancel()
            raise

    def _end_all(self, error: Exception) -> None:
        for future in self._open.values():
            if not future.done():
                future.set_exception(error)

    async def _nap(self, seconds: float) -> None:
        """Sleep, unless somebody joins or leaves meanwhile."""
        self._wake.clear()
        sleeper = asyncio.ensure_future(self._driver.sleep(seconds))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()


def _relay(future: asyncio.Future[Wait], listener: Listener | None, wait: Callable[[], Wait]) -> Listener:
    """Pass news on; a listener that raises ends its own wait, and nobody else's."""

    def relay(news: News) -> None:
        if future.done():
            return
        try:
            if listener is not None:
                listener(news)
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises is theirs to see
            future.set_exception(error)
        else:
            if isinstance(news, Finished):
                future.set_result(wait())

    return relay
