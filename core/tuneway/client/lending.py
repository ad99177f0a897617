"""One async client per account and loop, lent to all who work there.

Steps of a pipeline that share a loop would each have connections and a poll of their own; with one client
for all, the service is asked once for all of them.
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
    """A client, perhaps still in the making, and how many use it."""

    making: asyncio.Future[AsyncClient]
    users: int = 0


_lent: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _Lent]] = WeakKeyDictionary()


@asynccontextmanager
async def lease(
    settings: Mapping[str, Any], *, make: Callable[..., AsyncClient] = AsyncClient
) -> AsyncIterator[AsyncClient]:
    """Lend the client that these settings make, the same to all on this loop. The last to leave closes it.

    Args:
        settings: The arguments of `AsyncClient`; what differs in any of them has a client of its own.
        make: What makes the client.
    """
    key: _Key = frozenset((name, _hashable(value)) for name, value in settings.items())
    here = _lent.setdefault(asyncio.get_running_loop(), {})
    lent = here.get(key)
    if lent is None:
        # made in a thread: it takes some 20 ms, in which everybody on this loop would stand still
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
    except Exception:  # noqa: BLE001 - whoever asked for it was told
        return
    await client.aclose()


def _hashable(value: Any) -> Any:
    return frozenset(value.items()) if isinstance(value, dict) else value
