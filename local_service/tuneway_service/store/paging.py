"""Pages of a list: what comes after an entry, whatever has become of that entry since."""

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
    """One row more than a page of a table, or of what in it is `within` something.

    Args:
        connection: The database.
        table: Where the entries are.
        after: The entry that the page comes after, which `where` may leave out by now; 404 if there was none.
        kind: What an entry is called when it isn't there.
        limit: How many a page holds.
        within: Columns that say whose list it is; `after` must be in it, too.
        where: Further conditions, with the `values` for their question marks.
        values: See `where`.
        order: The column that numbers the entries.
        newest_first: The highest number first.
        columns: What to read.
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
    """The number of an entry that a page is to come after, or 404."""
    within = within or {}
    conditions = " AND ".join(["id = ?", *(f"{column} = ?" for column in within)])
    query = f"SELECT {order} FROM {table} WHERE {conditions}"  # noqa: S608 - fixed words
    row = connection.execute(query, (after, *within.values())).fetchone()
    if row is None:
        raise not_found(kind, after, param="after")
    return int(row[order])
