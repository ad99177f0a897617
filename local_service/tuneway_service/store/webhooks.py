"""Webhook endpoints, and the deliveries to them."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any

from tuneway_service.ids import new_id, now
from tuneway_service.refusals import not_found
from tuneway_service.store.paging import rows_after
from tuneway_service.store.records import encoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuneway_service.store.database import Connection, Row

EVENT_TYPES = ("fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled")


LONGEST_PAUSE = 7200


def new_secret() -> str:
    """A new signing secret, in the form that receivers expect."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def show(row: Row) -> dict[str, Any]:
    """An endpoint as the API sends it, with the last characters of its secret."""
    return {
        "id": row["id"],
        "object": "webhook_endpoint",
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "name": row["name"],
        "url": row["url"],
        "event_types": json.loads(row["event_types"]),
        "signing_secret_hint": f"whsec_…{row['secret'][-4:]}",
    }


def add(
    connection: Connection, *, name: str, url: str, event_types: Sequence[str], secret: str | None = None
) -> dict[str, Any]:
    """Add an endpoint; only this reply has its secret."""
    endpoint_id, at, secret = new_id("we_"), now(), secret or new_secret()
    connection.execute(
        "INSERT INTO webhook_endpoints (id, created_at, updated_at, name, url, event_types, secret)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (endpoint_id, at, at, name, url, json.dumps(list(event_types)), secret),
    )
    return show(find(connection, endpoint_id)) | {"signing_secret": secret}


SETTING = "set at start"


def configure(connection: Connection, url: str | None, secret: str | None) -> None:
    """Make the endpoint of the service's settings the only one of its kind, beside those of clients."""
    row = connection.execute(
        "SELECT * FROM webhook_endpoints WHERE name = ? AND deleted_at IS NULL", (SETTING,)
    ).fetchone()
    if row is not None and (row["url"], row["secret"]) != (url, secret):
        delete(connection, row["id"])
        row = None
    if row is None and url is not None:
        add(connection, name=SETTING, url=url, event_types=EVENT_TYPES, secret=secret)


def find(connection: Connection, endpoint_id: str) -> Row:
    """An endpoint's record, or 404."""
    row: Row | None = connection.execute(
        "SELECT * FROM webhook_endpoints WHERE id = ? AND deleted_at IS NULL", (endpoint_id,)
    ).fetchone()
    if row is None:
        raise not_found("webhook_endpoint", endpoint_id, param="webhook_endpoint_id")
    return row


def rows(connection: Connection, *, after: str | None, limit: int) -> list[Row]:
    """One row more than a page of endpoints, newest first."""
    return rows_after(
        connection, "webhook_endpoints", after, kind="webhook_endpoint", limit=limit, where=["deleted_at IS NULL"]
    )


def change(connection: Connection, endpoint_id: str, /, **changes: Any) -> dict[str, Any]:
    """Change an endpoint's name, address or event types."""
    find(connection, endpoint_id)
    changes["updated_at"] = now()
    columns = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(
        f"UPDATE webhook_endpoints SET {columns} WHERE id = ?",  # noqa: S608 - our own column names
        (*encoded(changes).values(), endpoint_id),
    )
    return show(find(connection, endpoint_id))


def rotate(connection: Connection, endpoint_id: str, *, keep_seconds: int) -> dict[str, Any]:
    """Give an endpoint a new secret; the old one also signs for `keep_seconds`."""
    old, secret = find(connection, endpoint_id)["secret"], new_secret()
    until = now() + keep_seconds
    shown = change(connection, endpoint_id, secret=secret, old_secret=old, old_secret_until=until)
    return shown | {"signing_secret": secret}


def delete(connection: Connection, endpoint_id: str) -> None:
    """Remove an endpoint; its pending deliveries are dropped."""
    find(connection, endpoint_id)
    connection.execute("UPDATE webhook_endpoints SET deleted_at = ? WHERE id = ?", (now(), endpoint_id))
    connection.execute(
        "UPDATE deliveries SET status = 'dropped' WHERE endpoint_id = ? AND status = 'pending'", (endpoint_id,)
    )


# deliveries


def announce(connection: Connection, kind: str, data: Mapping[str, Any]) -> None:
    """Queue an event for every endpoint that wants it, in the transaction of the change that it reports."""
    for endpoint in connection.execute("SELECT * FROM webhook_endpoints WHERE deleted_at IS NULL").fetchall():
        if kind in json.loads(endpoint["event_types"]):
            queue(connection, endpoint["id"], kind, data)


def queue(connection: Connection, endpoint_id: str, kind: str, data: Mapping[str, Any]) -> str:
    """Queue one event for one endpoint; returns its id."""
    event_id, at = new_id("evt_"), now()
    event = {"id": event_id, "object": "event", "created_at": at, "type": kind, "data": dict(data)}
    connection.execute(
        "INSERT INTO deliveries (id, endpoint_id, event, created_at, status, next_at)"
        " VALUES (?, ?, ?, ?, 'pending', ?)",
        (event_id, endpoint_id, json.dumps(event), at, at),
    )
    return event_id


def due(connection: Connection, at: float, each: int) -> list[Row]:
    """The deliveries that are due, with the address and the secrets of their endpoint: `each` of every endpoint.

    The first ones of all endpoints come before the second ones, so that an endpoint with many has no precedence.
    """
    return connection.execute(
        "SELECT * FROM (SELECT d.*, e.url, e.secret, e.old_secret, e.old_secret_until,"
        " ROW_NUMBER() OVER (PARTITION BY d.endpoint_id ORDER BY d.next_at, d.seq) AS place"
        " FROM deliveries AS d JOIN webhook_endpoints AS e ON e.id = d.endpoint_id"
        " WHERE d.status = 'pending' AND (d.next_at <= ? OR d.next_at > ?)) WHERE place <= ? ORDER BY place, next_at",
        # no pause is that long: the clock was wrong when the next attempt was set
        (at, at + 2 * LONGEST_PAUSE, each),
    ).fetchall()


def next_due(connection: Connection, at: float) -> float | None:
    """When the next delivery becomes due after a moment; None if none does."""
    after: float | None = connection.execute(
        "SELECT MIN(next_at) FROM deliveries WHERE status = 'pending' AND next_at > ?", (at,)
    ).fetchone()[0]
    return after


def note(connection: Connection, delivery_id: str, /, **changes: Any) -> None:
    """Record the result of an attempt."""
    columns = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(
        f"UPDATE deliveries SET {columns}, attempts = attempts + 1 WHERE id = ?",  # noqa: S608 - our own column names
        (*changes.values(), delivery_id),
    )


def show_delivery(row: Row) -> dict[str, Any]:
    """A delivery as this service's list of deliveries shows it."""
    return {
        "id": row["id"],
        "object": "webhook_delivery",
        "created_at": row["created_at"],
        "webhook_endpoint_id": row["endpoint_id"],
        "event": json.loads(row["event"]),
        "status": row["status"],
        "attempts": row["attempts"],
        "last_status_code": row["last_status"],
        "last_error": row["last_error"],
        "delivered_at": row["delivered_at"],
    }


def delivery_rows(connection: Connection, endpoint_id: str, *, after: str | None, limit: int) -> list[Row]:
    """One row more than a page of an endpoint's deliveries, newest first."""
    within = {"endpoint_id": endpoint_id}
    return rows_after(connection, "deliveries", after, kind="webhook_delivery", limit=limit, within=within)
