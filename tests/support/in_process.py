"""The service in this process: its application alone, or behind a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette

from tuneway_service.app import build_app
from tuneway_service.connections import Connections, GuardedConfig
from tuneway_service.faults import BreakableProtocol
from tuneway_service.server import Server
from tuneway_service.settings import Settings


class InProcess:
    """Sends requests to the application, which runs on a loop in another thread."""

    def __init__(self, portal: BlockingPortal, client: httpx.AsyncClient) -> None:
        self._portal = portal
        self._client = client

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; options as httpx has them."""

        async def send() -> httpx.Response:
            return await self._client.request(method, path, **options)

        return self._portal.call(send)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", path, **options)


@contextmanager
def in_process(app: Starlette) -> Iterator[InProcess]:
    """Run the application while the block lasts."""
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1/v1")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        portal.wrap_async_context_manager(client),
    ):
        yield InProcess(portal, client)


@contextmanager
def served_here(settings: Settings, connections: Connections | None = None) -> Iterator[str]:
    """Serve on a free port, from a thread; gives the base URL.

    It starts ten times as fast as the same service in a process of its own (`running_service`), and can't be killed.
    """
    config = GuardedConfig(
        build_app(settings),
        connections or Connections(100),
        port=0,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        http=BreakableProtocol,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(config, f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="served-here")
        thread.start()
        try:
            yield server.url  # the listener takes connections before the server does
        finally:
            server.should_exit = True
            thread.join()
