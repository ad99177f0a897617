"""Connections of webhook deliveries: to an address that was looked up and checked for this very connection.

This module imports httpx, which takes a while: import it in a thread.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

import anyio
import anyio.to_thread
import httpx

from tuneway_service.webhook_addresses import is_refused, refusal

LOOK_UPS = 32


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Looks a name up once, connects to an address that it stands for, and refuses link-local and metadata addresses.

    The name stays what the request and the certificate are about. No connection is used twice, so that each delivery
    is checked.

    Args:
        link_local: Whether link-local and metadata addresses are allowed.
    """

    def __init__(self, *, link_local: bool) -> None:
        super().__init__(trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0))
        self._link_local = link_local
        # threads of their own: a look-up may hang for long
        self._look_ups = anyio.CapacityLimiter(LOOK_UPS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; raises `httpx.ConnectError` for a host that stands for no allowed address."""
        url = request.url
        host = url.raw_host.decode("ascii")
        request.extensions = {**request.extensions, "sni_hostname": host}
        failure: httpx.TransportError | None = None
        for address in await self._look_up(host, url.port or {"https": 443}.get(url.scheme, 80)):
            if not self._link_local and is_refused(ip_address(address)):
                failure = failure or httpx.ConnectError(refusal(host))
                continue
            request.url = url.copy_with(host=address)
            try:
                return await super().handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or httpx.ConnectError(f"{host} stands for no address")

    async def _look_up(self, host: str, port: int) -> list[str]:
        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(address[0]) for *_, address in found))

        try:
            return await anyio.to_thread.run_sync(look_up, limiter=self._look_ups, abandon_on_cancel=True)
        except OSError as error:
            raise httpx.ConnectError(f"{host} can't be looked up: {error.strerror or error}") from None
