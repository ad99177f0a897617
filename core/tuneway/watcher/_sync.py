"""The watcher for threads that block. One of them leads: it polls for all."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence

from tuneway import progress
from tuneway.drivers import Driver
from tuneway.flows import Account, Board, Wait, WaitToken, watch
from tuneway.progress import Listener, News

SLICE = 1.0
"""The most seconds that a thread blocks at once, so that an engine can interrupt it."""


class _Lead(News):
    """Asks a waiting thread to lead. It isn't passed to a listener."""


class _Group:
    """The waits of one call, and the news for its thread."""

    def __init__(self, account: Account, tokens: Sequence[WaitToken], listener: Listener | None) -> None:
        self.inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.listener = listener
        self.open = len(tokens)
        self.leads = False
        self.waits = [Wait(account, token, self._post, follows=listener is not None) for token in tokens]

    def _post(self, news: News) -> None:
        """Take news on the leading thread: deliver it at once if that is the own thread, else put it into the inbox."""
        if self.leads:
            self.deliver(news)
        else:
            self.inbox.put(news)

    def deliver(self, news: News) -> None:
        """Pass news to the listener; called on the group's own thread."""
        if isinstance(news, progress.Finished):
            self.open -= 1
        if self.listener is not None:
            self.listener(news)


class Watcher:
    """Polls for all threads that wait."""

    def __init__(self, account: Account, driver: Driver, *, nap: Callable[[float], object] | None = None) -> None:
        self._account = account
        self._driver = driver
        self._nap = nap or self._sleep_in_slices
        self._board = Board()
        self._groups: list[_Group] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()

    def wait(self, token: WaitToken, listener: Listener | None = None) -> Wait:
        """Wait until this job has ended, successfully or not."""
        return self.wait_all([token], listener)[0]

    def wait_all(self, tokens: Sequence[WaitToken], listener: Listener | None = None) -> list[Wait]:
        """Wait until all these jobs have ended, successfully or not."""
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

    def close(self) -> None:
        """Do nothing: the watcher has no thread to stop."""

    def _join(self, group: _Group) -> None:
        with self._lock:
            for wait in group.waits:
                self._board.add(wait)
            self._groups.append(group)
            if len(self._groups) == 1:
                group.inbox.put(_Lead())
        self._wake.set()

    def _leave(self, group: _Group) -> None:
        """Drop a group's waits from the board. If it led, or was asked to lead, ask another group."""
        with self._lock:
            led = self._groups[:1] == [group]
            with contextlib.suppress(ValueError):  # the group was interrupted before it joined
                self._groups.remove(group)
            for wait in group.waits:
                self._board.drop(wait)
            group.leads = False
            if led and self._groups:
                self._groups[0].inbox.put(_Lead())

    def _lead(self, group: _Group) -> None:
        """Run the flow for all groups, until the waits of this group have ended."""
        group.leads = True
        while not group.inbox.empty():
            group.deliver(group.inbox.get())
        self._driver.run(watch(self._account, self._board, enough=lambda: not group.open), nap=self._nap)

    def _sleep_in_slices(self, seconds: float) -> None:
        if self._wake.wait(min(seconds, SLICE)):
            self._wake.clear()
