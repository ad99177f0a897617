"""One async client per connection and loop, lent to all who wait there.

A triggerer runs a thousand triggers in one loop. With a client of its own, each would have its own
connections and its own poll; with one for all, `tuneway` asks the service once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from airflow.sdk import BaseHook

from airflow_tuneway._connection import client_settings
from tuneway import AsyncClient
from tuneway.client import lending


@asynccontextmanager
async def lease(conn_id: str, poll: Mapping[str, float] | None = None) -> AsyncIterator[AsyncClient]:
    """Lend the client of a connection. The last to leave closes it.

    The settings decide which client it is, so a connection that has changed meanwhile gets a new one.
    """
    settings = await asyncio.to_thread(lambda: client_settings(BaseHook.get_connection(conn_id), poll))
    async with lending.lease(settings, make=AsyncClient) as client:
        yield client
