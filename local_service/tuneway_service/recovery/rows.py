"""Rows for the database that is being made again."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from tuneway_service.store import jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.store.database import Connection


def put(connection: Connection, table: str, row: Mapping[str, Any]) -> bool:
    """Insert a row, unless its id is there or the row can't be right; returns whether it was inserted.

    Columns that this version doesn't know are left out. `seq`, which gives the order, is kept if it is free.
    """
    known = [column["name"] for column in connection.execute(f"PRAGMA table_info({table})")]
    row = {name: row[name] for name in known if name in row and name != "recorded"}
    taken = "SELECT 1 FROM {} WHERE seq = ?".format(table)  # noqa: UP032, S608 - our own table names
    if "seq" in row and connection.execute(taken, (row["seq"],)).fetchone():
        del row["seq"]
    query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' for _ in row)})"  # noqa: S608
    connection.execute("SAVEPOINT row")
    try:
        connection.execute(query, tuple(row.values()))
        if table == "jobs":
            jobs.find(connection, row["id"])  # raises if a column can't be decoded
    except (sqlite3.Error, ValueError, LookupError, TypeError):
        connection.execute("ROLLBACK TO row")
        return False
    finally:
        connection.execute("RELEASE row")
    return True
