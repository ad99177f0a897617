"""The two loops that run a flow, over `httpx.Client` and over `httpx.AsyncClient`.

This is the only code that does I/O.
"""

from tuneway.drivers._async import AsyncDriver
from tuneway.drivers._sync import Driver
from tuneway.drivers._wire import Wire

__all__ = ["AsyncDriver", "Driver", "Wire"]
