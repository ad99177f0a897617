"""Pages of a list. A page comes after an entry, even if that entry has been deleted since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway_service.refusals import not_found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuneway_service.store.database import Connection, Row


def rows_after(
    connection: Connection,
    table: str,
    after: str | None,
    *,
    kind: str,
    limit: int,
    within: Mapping[str, Any] | None = None,
    where: Sequence[str] = (),
    values: Sequence[Any] = (),
    order: str = "seq",
    newest_first: bool = True,
    columns: str = "*",
) -> list[Row]:
    """One row more than a page of a table.

    Args:
        connection: The database.
        table: The table of the entries.
        after: The id of the entry that the page comes after; it needn't fulfil `where`. 404 if it doesn't exist.
        kind: The name of such an entry in the 404.
        limit: The size of a page.
        within: Columns and values that select the list; `after` must be in it too.
        where: Further conditions.
        values: The values for the question marks in `where`.
        order: The column that gives the order.
        newest_first: Whether the highest value comes first.
        columns: The columns to read.
    """
    within = within or {}
    conditions, parameters = [*(f"{column} = ?" for column in within), *where], [*within.values(), *values]
    if after is not None:
        conditions.append(f"{order} {'<' if newest_first else '>'} ?")
        parameters.append(place_of(connection, table, after, kind=kind, within=within, order=order))
    clause = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    direction = "DESC" if newest_first else "ASC"
    query = f"SELECT {columns} FROM {table} {clause} ORDER BY {order} {direction} LIMIT ?"  # noqa: S608 - fixed words
    return connection.execute(query, (*parameters, limit + 1)).fetchall()


def place_of(
    connection: Connection,
    table: str,
    after: str,
    *,
    kind: str,
    within: Mapping[str, Any] | None = None,
    order: str = "seq",
) -> int:
    """The value of the order column for the entry that a page comes after, or 404."""
    within = within or {}
    conditions = " AND ".join(["id = ?", *(f"{column} = ?" for column in within)])
    query = f"SELECT {order} FROM {table} WHERE {conditions}"  # noqa: S608 - fixed words
    row = connection.execute(query, (after, *within.values())).fetchone()
    if row is None:
        raise not_found(kind, after, param="after")
    return int(row[order])
