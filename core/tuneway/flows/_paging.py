"""Lists, page by page, whatever the service leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from tuneway.calls import Call
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._request import once, request
from tuneway.models import Page


class Listed(Protocol):
    """Something with an id, which is also the cursor to what follows it."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Listed)


class Pager(Generic[T]):
    """Knows where a list goes on, and when it is over.

    A service that leaves out `has_more` is read until a page is empty; one that ignores the cursor, and
    so repeats itself, is read once. One that does so and says that there is more leaves the pager `stuck`:
    what was read isn't all there is. With `persistent=False` a page is asked for once only.
    """

    def __init__(
        self, account: Account, page: Callable[[str | None], Call[Page[T]]], *, persistent: bool = True
    ) -> None:
        self._account = account
        self._page = page
        self._send = request if persistent else once
        self._seen: set[str] = set()
        self._after: str | None = None
        self.pages: int = 0
        self.done: bool = False
        self.stuck: bool = False

    def next(self) -> Flow[list[T]]:
        """Fetch one page, and give what is new on it."""
        page = yield from self._send(self._account, self._page(self._after))
        fresh = [item for item in page.data if item.id not in self._seen]
        self._seen.update(item.id for item in fresh)
        self.pages += 1
        self.done = not fresh or page.has_more is False
        self.stuck = not fresh and page.has_more is True
        self._after = page.data[-1].id if page.data else None
        return fresh
