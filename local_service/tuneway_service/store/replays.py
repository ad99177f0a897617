"""Idempotency keys: a repeated request has no second effect and gets the same reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuneway_service.ids import now
from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuneway_service.store.database import Connection

KEPT_SECONDS = 24 * 3600


def earlier(connection: Connection, key: str | None, fingerprint: str) -> dict[str, Any] | None:
    """The reply to an earlier request with this key; refused if that request was a different one."""
    if key is None:
        return None
    row = connection.execute("SELECT * FROM idempotency WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != fingerprint:
        raise Refusal(
            "This Idempotency-Key was used before with a different request: use a new key for a new request.",
            status=422,
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )
    reply: dict[str, Any] = json.loads(row["reply"])
    return reply


def once(
    connection: Connection, key: str | None, fingerprint: str, act: Callable[[Connection], dict[str, Any]]
) -> tuple[dict[str, Any], bool]:
    """Act, unless an earlier request with this key did; returns the reply, and whether it is the earlier one."""
    before = earlier(connection, key, fingerprint)
    if before is not None:
        return before, True
    reply = act(connection)
    if key is not None:
        connection.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?)", (key, now(), fingerprint, json.dumps(reply)))
    return reply, False


def expired(connection: Connection) -> list[str]:
    """The keys that are old enough to be forgotten."""
    query = "SELECT key FROM idempotency WHERE created_at < ?"
    return [row["key"] for row in connection.execute(query, (now() - KEPT_SECONDS,))]


def forget(connection: Connection, key: str) -> None:
    """Delete a key."""
    connection.execute("DELETE FROM idempotency WHERE key = ?", (key,))
