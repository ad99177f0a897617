"""Share one async client per account and event loop.

Pipeline steps that run on one event loop would otherwise each have their own connections and their own poll. With
one shared client, one request serves all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from tuneway.client._async import AsyncClient

_Key = frozenset[tuple[str, Any]]


@dataclass
class _Lent:
    """A client, which may still be being created, and the number of its users."""

    making: asyncio.Future[AsyncClient]
    users: int = 0


_lent: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _Lent]] = WeakKeyDictionary()


@asynccontextmanager
async def lease(
    settings: Mapping[str, Any], *, make: Callable[..., AsyncClient] = AsyncClient
) -> AsyncIterator[AsyncClient]:
    """Give the client for these settings, the same one to everybody on this event loop. The last user closes it.

    Args:
        settings: The arguments of `AsyncClient`. Different settings have different clients.
        make: The function that creates the client.
    """
    key: _Key = frozenset((name, _hashable(value)) for name, value in settings.items())
    here = _lent.setdefault(asyncio.get_running_loop(), {})
    lent = here.get(key)
    if lent is None:
        # created in a thread: it takes about 20 ms, which would block the event loop
        lent = here[key] = _Lent(asyncio.ensure_future(asyncio.to_thread(make, **settings)))
    lent.users += 1
    try:
        yield await asyncio.shield(lent.making)
    finally:
        lent.users -= 1
        if not lent.users:
            if here.get(key) is lent:
                del here[key]
            await _close(lent)


async def _close(lent: _Lent) -> None:
    try:
        client = await lent.making
    except Exception:  # noqa: BLE001 - the users who waited for the client have seen the error
        return
    await client.aclose()


def _hashable(value: Any) -> Any:
    return frozenset(value.items()) if isinstance(value, dict) else value
