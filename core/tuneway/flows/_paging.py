"""Read lists page by page, from services that leave out a part of the paging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from tuneway.calls import Call
from tuneway.errors import LookupFailed, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow
from tuneway.flows._request import once, request, unreadable
from tuneway.models import Job, Page


class Listed(Protocol):
    """An item of a list. Its id is also the cursor for the items after it."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Listed)


class Pager(Generic[T]):
    """Reads a list, one page at a time, until it is `done`.

    If a service leaves out `has_more`, the list ends with the first page without new items: an empty one, or a
    repeated one where the service ignores the cursor. If such a page says that there is more, the pager is `stuck`:
    the list can't be read to its end. A page may carry the cursor to the next one (`last_id` or a page token); else it
    is the id of the page's last item. With `persistent=False` a failed request isn't sent again.
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
        """Fetch the next page; gives the items on it that are new."""
        page = yield from self._send(self._account, self._page(self._after))
        fresh = [item for item in page.data if item.id not in self._seen]
        self._seen.update(item.id for item in fresh)
        self.pages += 1
        token = page.next_page_token
        more = bool(token) if page.has_more is None and token is not None else page.has_more
        carried = token or page.last_id
        turned = more is True and carried not in (None, "", self._after)  # the page may be empty, and not the last
        self.done = more is False or not (fresh or turned)
        self.stuck = self.done and more is True
        self._after = carried or (page.data[-1].id if page.data else None)
        return fresh


def find_jobs(
    account: Account,
    page: Callable[[str | None], Call[Page[Job]]],
    suits: Callable[[Job], bool],
    *,
    unfiltered: str = "",
) -> Flow[list[Job]]:
    """Find jobs in a list, before one is created. The list is read to its end: a part must not count as all of it.

    Args:
        account: The account to send requests with.
        page: Makes the call for the page after a cursor.
        suits: Whether a job is one of those to find.
        unfiltered: Why the list may be long, for the error.

    Raises:
        LookupFailed: The list can't be read to its end.
    """
    pager = Pager(account, page)
    found: list[Job] = []
    while not pager.done:
        if pager.pages == account.lookup_pages:
            raise LookupFailed(
                f"more than {pager.pages} pages of jobs{unfiltered}",
                hint="Nothing was created. Raise `lookup_pages`, or delete old jobs.",
                retryable=False,
            )
        try:
            jobs = yield from pager.next()
        except TunewayError as error:
            raise unreadable("which jobs exist for this work, so none was created", error) from error
        found += filter(suits, jobs)
    if pager.stuck:
        raise LookupFailed(
            "the service says that there are more jobs, but doesn't list them",
            hint="Nothing was created, because the list of jobs can't be read to its end.",
            retryable=False,
        )
    return found
