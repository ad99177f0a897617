"""The watcher for asyncio, which polls in its own task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from tuneway.drivers import AsyncDriver
from tuneway.flows import Account, Board, Wait, WaitToken, watch
from tuneway.progress import Finished, Listener, News


class AsyncWatcher:
    """Polls for all tasks that wait."""

    def __init__(self, account: Account, driver: AsyncDriver) -> None:
        self._account = account
        self._driver = driver
        self._board = Board()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._open: dict[Wait, asyncio.Future[None]] = {}

    async def wait(self, token: WaitToken, listener: Listener | None = None) -> Wait:
        """Wait until this job has ended, successfully or not."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wait = Wait(self._account, token, partial(_relay, future, listener), follows=listener is not None)
        self._open[wait] = future
        self._board.add(wait)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="tuneway-watcher")
        try:
            await future
        finally:
            self._open.pop(wait, None)
            self._board.drop(wait)
            self._wake.set()
        return wait

    async def wait_all(self, tokens: Sequence[WaitToken], listener: Listener | None = None) -> list[Wait]:
        """Wait until all these jobs have ended, successfully or not. An error of the listener ends all these waits."""
        waits = [asyncio.ensure_future(self.wait(token, listener)) for token in tokens]
        try:
            return await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()

    async def aclose(self) -> None:
        """Stop polling. Waits that are still open get an error."""
        self._end_all(self._driver.wire.closed())
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            await self._driver.run(watch(self._account, self._board), nap=self._nap)
        except Exception as error:  # noqa: BLE001 - raised to all tasks that wait
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
        """Sleep until the time is over, or a wait is added or dropped."""
        self._wake.clear()
        sleeper = asyncio.ensure_future(self._driver.sleep(seconds))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()


def _relay(future: asyncio.Future[None], listener: Listener | None, news: News) -> None:
    """Pass news to the listener. An error of the listener ends only its own wait."""
    if future.done():
        return
    try:
        if listener is not None:
            listener(news)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything; it is raised to them
        future.set_exception(error)
    else:
        if isinstance(news, Finished):
            future.set_result(None)
