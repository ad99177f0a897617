"""The two drivers, which run a flow over `httpx.Client` or over `httpx.AsyncClient`.

This is the only code of the client that does I/O. The blocking driver doesn't import asyncio.
"""

from typing import TYPE_CHECKING

from tuneway._lazy import Finder, on_demand
from tuneway.drivers._sync import Driver
from tuneway.drivers._threads import in_threads
from tuneway.drivers._token import TokenSource
from tuneway.drivers._wire import Wire

if TYPE_CHECKING:
    from tuneway.drivers._async import AsyncDriver

__all__ = ["AsyncDriver", "Driver", "TokenSource", "Wire", "in_threads"]

__getattr__: Finder = on_demand(__name__, {"AsyncDriver": "tuneway.drivers._async"})
