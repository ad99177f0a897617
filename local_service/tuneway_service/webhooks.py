"""Sends events to webhook endpoints: signed, retried with growing pauses, each attempt recorded."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from tuneway_service import webhook_addresses
from tuneway_service.store import webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    from anyio.abc import TaskGroup

    from tuneway_service.store.database import Database, Row

log = logging.getLogger(__name__)

TIMEOUT = 10.0
TOTAL_TIMEOUT = 20.0
# 3 days in all, like the hosted platform
PAUSES = (2, 10, 60, 300, 1800, 3600, *([7200] * 35))
ROUND_SECONDS = 30.0
EACH = 4
"""How many deliveries an endpoint gets at the same time."""
AT_ONCE = 64


def signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """The signature that receivers check: `v1,` and base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def signed_headers(row: Row | Mapping[str, Any], body: bytes, at: int) -> dict[str, str]:
    """The headers of one delivery; an old secret signs as well while it is valid."""
    secrets = [row["secret"]]
    if row["old_secret"] and row["old_secret_until"] > at:
        secrets.append(row["old_secret"])
    return {
        "content-type": "application/json",
        "user-agent": "tuneway",
        "webhook-id": row["id"],
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signature(secret, row["id"], at, body) for secret in secrets),
    }


class Sender:
    """Sends the deliveries that the database has queued; after a restart it goes on with them.

    Deliveries don't wait for one another: each is a task of its own, and an endpoint has a few at a time, so that one
    that answers late, or never, delays only its own.

    Args:
        database: Where deliveries are queued.
        link_local: Whether link-local and metadata addresses may receive webhooks.
    """

    def __init__(self, database: Database, *, link_local: bool = False) -> None:
        self.database = database
        self.link_local = link_local
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._client: httpx.AsyncClient | None = None
        self._in_flight: set[str] = set()

    def wake(self) -> None:
        """Look for deliveries now. Any thread may call it; never blocks."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Send deliveries until cancelled."""
        self._loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            while True:
                self._woken.clear()
                pause = await self._start(group)
                with anyio.move_on_after(pause):
                    await self._woken.wait()

    async def _start(self, group: TaskGroup) -> float:
        """Start the deliveries that are due; returns the seconds until the next one is. Each wakes us when it ends."""
        # those that end while the database is read would look due
        at, before = time.time(), set(self._in_flight)
        try:
            rows = [row for row in await self.database.read(webhooks.due, at, EACH) if row["id"] not in before]
            if rows and self._client is None:
                self._client = await http_client(link_local=self.link_local)
            for row in rows[: AT_ONCE - len(self._in_flight)]:
                self._in_flight.add(row["id"])
                group.start_soon(self._deliver, row)
            after = await self.database.read(webhooks.next_due, at)
        except Exception:
            log.exception("webhooks can't be sent")
            return ROUND_SECONDS
        return min(ROUND_SECONDS, max(0.0, after - time.time())) if after is not None else ROUND_SECONDS

    async def _deliver(self, row: Row) -> None:
        assert self._client is not None
        try:
            status, error = await attempt(self._client, row)
            await self._note(row, status, error)
        except Exception:
            log.exception("a webhook's result can't be recorded", extra={"delivery": row["id"]})
            # it is still due: without a pause it would be sent again and again
            await anyio.sleep(ROUND_SECONDS)
        finally:
            self._in_flight.discard(row["id"])
            self._woken.set()

    async def _note(self, row: Row, status: int | None, error: str | None) -> None:
        changes: dict[str, Any] = {"last_status": status, "last_error": error}
        if status is not None and 200 <= status < 300:
            changes |= {"status": "delivered", "delivered_at": int(time.time())}
        elif row["attempts"] >= len(PAUSES):
            changes |= {"status": "failed"}
        else:
            changes |= {"next_at": time.time() + PAUSES[row["attempts"]]}
        await self.database.write(webhooks.note, row["id"], **changes)
        log.info("webhook", extra={"delivery": row["id"], "status": status, "error": error})


async def http_client(*, link_local: bool) -> httpx.AsyncClient:
    """A client for deliveries. A thread imports httpx and reads the certificates, when they are needed."""

    def make() -> httpx.AsyncClient:
        import httpx

        from tuneway_service.webhook_transport import CheckedTransport

        transport = CheckedTransport(link_local=link_local)
        # a redirect isn't followed, because it could lead anywhere: it counts as a failure
        return httpx.AsyncClient(transport=transport, timeout=TIMEOUT, follow_redirects=False, trust_env=False)

    return await anyio.to_thread.run_sync(make)


async def attempt(client: httpx.AsyncClient, row: Row | Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Send one event once; returns the reply's status, or the error. It raises none, whatever the record holds."""
    wrong = webhook_addresses.problem(row["url"], link_local=True)
    if wrong is not None:
        # an older service took addresses that can't be
        return None, f"{row['url'][:100]}: {wrong}"
    try:
        body = json.dumps(json.loads(row["event"]), separators=(",", ":")).encode()
        headers = signed_headers(row, body, int(time.time()))
        # the status is enough: the reply's body isn't read
        with anyio.fail_after(TOTAL_TIMEOUT):
            async with client.stream("POST", row["url"], content=body, headers=headers) as reply:
                return reply.status_code, None
    except Exception as error:  # noqa: BLE001 - whatever the address is, other deliveries go on
        return None, f"{type(error).__name__}: {error}"[:500]
