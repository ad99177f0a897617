"""One async client per connection and event loop, shared by all waits there.

A triggerer runs a thousand triggers in one loop. Each with a client of its own would have its own connections and its
own poll; on a shared client, one request asks for all of their jobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from airflow.sdk import BaseHook

from airflow_tuneway._connection import client_settings
from airflow_tuneway._threads import in_thread
from tuneway import AsyncClient
from tuneway.client import lending


@asynccontextmanager
async def lease(conn_id: str, poll: Mapping[str, float] | None = None) -> AsyncIterator[AsyncClient]:
    """Borrow the client of a connection. The last one to give it back closes it.

    Waits with the same settings share a client, so a connection that was changed meanwhile gets a new one.
    """
    settings = await in_thread(lambda: client_settings(BaseHook.get_connection(conn_id), poll))
    async with lending.lease(settings, make=AsyncClient) as client:
        yield client
