"""Copies what can still be read of a damaged database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tuneway_service.recovery.rows import put
from tuneway_service.store.database import connect_to_read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuneway_service.recovery.summary import Summary
    from tuneway_service.store.database import Connection, Database, Row

# in the order of their references; metadata of jobs comes from their bodies
KEYS = {
    "files": "seq",
    "uploads": "id",
    "upload_parts": "id",
    "jobs": "seq",
    "events": "seq",
    "checkpoints": "seq",
    "models": "seq",
    "permissions": "seq",
    "idempotency": "key",
    "webhook_endpoints": "seq",
    "deliveries": "seq",
}
OF_JOBS = ("events", "checkpoints")
# files and jobs are counted where they are compared with the folders
COUNTED = {
    "permissions": "permissions",
    "idempotency": "idempotency keys",
    "webhook_endpoints": "webhook endpoints",
    "uploads": "uploads",
}


def salvage(path: Path, database: Database, summary: Summary) -> None:
    """Copy every row that can be read and that fits; the path is that of a damaged database."""
    try:
        with closing(connect_to_read(path)) as source:
            for table, key in KEYS.items():
                database.write_now(_copy, source, table, key, summary)
    except sqlite3.Error as error:
        summary.doubt(str(path), f"it can't be read: {error}")


def _copy(connection: Connection, source: Connection, table: str, key: str, summary: Summary) -> None:
    places: dict[int, int | None] = {}
    for row in _readable(source, table, key):
        content: dict[str, Any] = dict(row)
        if table in OF_JOBS:
            old = content["job"]
            if old not in places:
                places[old] = _place(connection, source, old)
            content["job"] = places[old]
        if put(connection, table, content) and table in COUNTED:
            summary.add(COUNTED[table], "")


def _place(connection: Connection, source: Connection, old: int) -> int | None:
    """The new place of a job that the damaged database has at the old one; None if that can't be read."""
    try:
        row = source.execute("SELECT id FROM jobs WHERE seq = ?", (old,)).fetchone()
    except sqlite3.Error:
        return None
    new = connection.execute("SELECT seq FROM jobs WHERE id = ?", (row["id"],)).fetchone() if row else None
    return new["seq"] if new else None


def _readable(source: Connection, table: str, key: str) -> Iterator[Row]:
    """The rows before the first damaged page, then those after the last one."""
    last = None
    try:
        for row in source.execute(f"SELECT * FROM {table} ORDER BY {key}"):  # noqa: S608 - our own table names
            last = row[key]
            yield row
    except sqlite3.Error:
        pass
    else:
        return
    try:
        for row in source.execute(f"SELECT * FROM {table} ORDER BY {key} DESC"):  # noqa: S608
            if last is not None and row[key] <= last:
                return
            yield row
    except sqlite3.Error:
        return
