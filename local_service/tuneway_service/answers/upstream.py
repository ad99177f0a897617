"""Passes questions on to an address that speaks OpenAI's chat, and its answers back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from tuneway_service.refusals import Refusal
from tuneway_service.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

CONNECT_SECONDS = 10.0
DATA = "data:"
DONE = "[DONE]"


class BrokenOff(Exception):
    """Nobody answers at the address, or the answer broke off."""


class Missing(Refusal):
    """The other side doesn't know the path or the model. `told` says whether it spoke of the model."""

    told: bool = False


class Upstream:
    """An address that answers.

    Args:
        url: The base URL; paths are relative to it.
        key: The API key to send.
        transport: What connects instead of the network, for tests.
    """

    def __init__(self, url: str, key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            # an answer takes as long as it takes; whoever doesn't want it any more hangs up
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
            transport=transport,
            # a proxy that the environment names is for other machines
            trust_env=not is_loopback(httpx.URL(url).host),
        )

    async def get(self, path: str) -> Any:
        """The JSON at a path."""
        return await self._exchange("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The reply to a body. Cancelling it closes the connection, by which the other side notices."""
        return await self._exchange("POST", path, body)

    async def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            reply = await self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise BrokenOff from error
        return _read(reply.status_code, reply.content)

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The events of a streamed reply, up to the one that says that it is done."""
        try:
            async with self._client.stream("POST", path, json={**body, "stream": True}) as reply:
                if reply.status_code >= 400:
                    _read(reply.status_code, await reply.aread())
                async for line in reply.aiter_lines():
                    if not line.startswith(DATA):
                        continue
                    text = line.removeprefix(DATA).strip()
                    if text == DONE:
                        return
                    event = json.loads(text)
                    if "error" in event:
                        raise refusal_of(500, event)
                    yield event
        except httpx.TransportError as error:
            raise BrokenOff from error
        raise BrokenOff  # it ended before it was done

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _read(status: int, content: bytes) -> Any:
    try:
        found = json.loads(content)
    except ValueError:
        found = {}
    if status >= 400:
        raise refusal_of(status, found)
    return found


def refusal_of(status: int, content: Any) -> Refusal:
    """The refusal of a reply that is an error: the client's errors stay theirs, and others are the service's."""
    error = content.get("error") if isinstance(content, dict) else None
    error = error if isinstance(error, dict) else {"message": error}
    message = str(error.get("message") or f"The engine answered with the status {status}.")
    if status == 404:
        missing = Missing(message, status=500, code="model_error")
        missing.told = bool(error.get("message"))
        return missing
    if status in (400, 422, 429):
        code = error.get("code")
        return Refusal(
            message,
            status=429 if status == 429 else 400,
            param=error.get("param"),
            code=code if isinstance(code, str) else "invalid_value",
        )
    return Refusal(f"The model failed: {message}", status=500, code="model_error")
