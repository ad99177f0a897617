"""Models that were trained here, and the permissions to use their checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway_service.ids import new_id, now
from tuneway_service.refusals import not_found
from tuneway_service.store.paging import rows_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.store.database import Connection, Row


def add(
    connection: Connection,
    *,
    id: str,  # noqa: A002 - the record's own name
    job_id: str,
    trainer: str,
    folder: str,
    at: int | None = None,
) -> None:
    """Record a model; `folder` is the path of its export within the job's folder."""
    connection.execute(
        "INSERT OR IGNORE INTO models (id, created_at, job_id, trainer, folder) VALUES (?, ?, ?, ?, ?)",
        (id, at or now(), job_id, trainer, folder),
    )


def find(connection: Connection, name: str) -> Row | None:
    """The record of a model; None if it is deleted or unknown."""
    row: Row | None = connection.execute("SELECT * FROM models WHERE id = ? AND deleted_at IS NULL", (name,)).fetchone()
    return row


def newest(connection: Connection, limit: int) -> list[Row]:
    """The newest models, in order of age, the oldest first."""
    found = connection.execute("SELECT * FROM models WHERE deleted_at IS NULL ORDER BY seq DESC LIMIT ?", (limit,))
    return found.fetchall()[::-1]


def of_job(connection: Connection, job_id: str) -> list[Row]:
    """The models of a job that aren't deleted."""
    return connection.execute("SELECT * FROM models WHERE job_id = ? AND deleted_at IS NULL", (job_id,)).fetchall()


def drop(connection: Connection, name: str) -> None:
    """Mark a model as deleted."""
    connection.execute("UPDATE models SET deleted_at = ? WHERE id = ?", (now(), name))


def delete(connection: Connection, name: str) -> Row:
    """Mark a model as deleted, or 404; returns its record."""
    row = find(connection, name)
    if row is None:
        raise not_found("model", name, param="model")
    drop(connection, name)
    return row


# permissions


def show_permission(row: Row) -> dict[str, Any]:
    """A permission as the API sends it."""
    return {
        "id": row["id"],
        "object": "checkpoint.permission",
        "created_at": row["created_at"],
        "project_id": row["project_id"],
    }


def grant(connection: Connection, model: str, project_ids: Sequence[str]) -> list[Row]:
    """Permit projects to use a checkpoint; granting twice changes nothing."""
    _known_checkpoint(connection, model)
    for project_id in project_ids:
        connection.execute(
            "INSERT OR IGNORE INTO permissions (id, created_at, model, project_id) VALUES (?, ?, ?, ?)",
            (new_id("cp_"), now(), model, project_id),
        )
    marks = ", ".join("?" for _ in project_ids)
    return connection.execute(
        f"SELECT * FROM permissions WHERE model = ? AND project_id IN ({marks}) ORDER BY seq DESC",  # noqa: S608
        (model, *project_ids),
    ).fetchall()


def permission_rows(
    connection: Connection, model: str, *, after: str | None, limit: int, newest_first: bool, project_id: str | None
) -> list[Row]:
    """One row more than a page of a checkpoint's permissions."""
    _known_checkpoint(connection, model)
    where, values = ([], []) if project_id is None else (["project_id = ?"], [project_id])
    return rows_after(
        connection,
        "permissions",
        after,
        kind="permission",
        limit=limit,
        within={"model": model},
        where=where,
        values=values,
        newest_first=newest_first,
    )


def revoke(connection: Connection, model: str, permission_id: str) -> None:
    """Delete a permission."""
    done = connection.execute("DELETE FROM permissions WHERE model = ? AND id = ?", (model, permission_id))
    if done.rowcount == 0:
        raise not_found("permission", permission_id, param="permission_id")


def _known_checkpoint(connection: Connection, model: str) -> None:
    if find(connection, model) is None:
        raise not_found("checkpoint", model, param="fine_tuned_model_checkpoint")
