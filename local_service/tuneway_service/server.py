"""The web server: uvicorn, which here prints its address, exits with 0 when it is stopped, and limits connections."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any

import uvicorn

from tuneway_service.connections import GuardedConfig

log = logging.getLogger(__name__)

PENDING = 512
"""How many clients the system lets wait until the service takes their connection."""

TICKS = 10
"""Tenths of a second between two looks at which connections send nothing."""

AT_ONCE = 16
"""How many connections are taken before the first of them is counted."""


class Server(uvicorn.Server):
    """Serves one application.

    Args:
        config: uvicorn's own configuration.
        url: The line to print on standard output when the server answers requests.
    """

    def __init__(self, config: GuardedConfig, url: str) -> None:
        config.backlog = AT_ONCE
        super().__init__(config)
        self._connections = config.all_connections
        self.url = url
        self._told = -60.0

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start, then print the address."""
        asyncio.get_running_loop().set_exception_handler(self._on_trouble)
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(PENDING)  # asyncio takes one number for how many may wait and how many it takes at once
        if self.started:
            sys.stdout.write(self.url + "\n")
            sys.stdout.flush()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; close the connections that send nothing."""
        if counter % TICKS == 0:
            self._connections.sweep()
        return await super().on_tick(counter)

    def _on_trouble(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error of the loop. asyncio reports a connection that it can't take hundreds of times a second."""
        if not str(context.get("message")).startswith("socket.accept()"):
            loop.default_exception_handler(context)
        elif loop.time() >= self._told + 60:
            self._told = loop.time()
            log.error("can't take a connection", extra={"why": context.get("exception")})

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM with exit status 0; a second SIGINT stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
