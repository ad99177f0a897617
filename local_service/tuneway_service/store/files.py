"""The records of files and of uploads in parts; their contents are in folders beside the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway_service.ids import new_id, now
from tuneway_service.refusals import Refusal, not_found
from tuneway_service.store.paging import rows_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.store.database import Connection, Row

UPLOAD_SECONDS = 3600


def show(row: Row) -> dict[str, Any]:
    """A file as the API sends it."""
    return {
        "id": row["id"],
        "object": "file",
        "bytes": row["bytes"],
        "created_at": row["created_at"],
        "expires_at": row["expires_at"],
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": "processed",
        "status_details": None,
        "sha256": row["sha256"],
    }


def add(
    connection: Connection,
    *,
    id: str,  # noqa: A002 - the record's own name
    filename: str,
    purpose: str,
    size: int,
    sha256: str,
    expires_after: int | None = None,
) -> dict[str, Any]:
    """Record a file whose content is in place."""
    created = now()
    connection.execute(
        "INSERT INTO files (id, created_at, expires_at, filename, purpose, bytes, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (id, created, created + expires_after if expires_after else None, filename, purpose, size, sha256),
    )
    return get(connection, id)


def find(connection: Connection, file_id: str) -> Row | None:
    """The record of a file; None if it is deleted, expired or unknown."""
    row: Row | None = connection.execute(
        "SELECT * FROM files WHERE id = ? AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
        (file_id, now()),
    ).fetchone()
    return row


def get(connection: Connection, file_id: str) -> dict[str, Any]:
    """A file, or 404."""
    row = find(connection, file_id)
    if row is None:
        raise not_found("file", file_id, param="file_id")
    return show(row)


def rows(
    connection: Connection, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
) -> list[Row]:
    """One row more than a page of files; `after` may name a file that has been deleted since."""
    where, values = ["deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"], list[Any]([now()])
    if purpose is not None:
        where.append("purpose = ?")
        values.append(purpose)
    return rows_after(
        connection, "files", after, kind="file", limit=limit, where=where, values=values, newest_first=newest_first
    )


def delete(connection: Connection, file_id: str) -> None:
    """Mark a file as deleted, or 404. The record stays, so that a list can continue after it."""
    get(connection, file_id)
    connection.execute("UPDATE files SET deleted_at = ? WHERE id = ?", (now(), file_id))


def expired(connection: Connection) -> list[str]:
    """The ids of files that have expired and aren't marked as deleted yet."""
    query = "SELECT id FROM files WHERE deleted_at IS NULL AND expires_at <= ?"
    return [row["id"] for row in connection.execute(query, (now(),))]


def expire(connection: Connection, file_id: str) -> None:
    """Mark a file that has expired as deleted."""
    connection.execute("UPDATE files SET deleted_at = expires_at WHERE id = ?", (file_id,))


def live_ids(connection: Connection) -> set[str]:
    """The ids of all files that aren't deleted."""
    return {row["id"] for row in connection.execute("SELECT id FROM files WHERE deleted_at IS NULL")}


def deleted_ids(connection: Connection) -> set[str]:
    """The ids of all files that were deleted or have expired."""
    return {row["id"] for row in connection.execute("SELECT id FROM files WHERE deleted_at IS NOT NULL")}


def exists(connection: Connection, file_id: str) -> bool:
    """Whether there is a record of a file, deleted or not."""
    return connection.execute("SELECT 1 FROM files WHERE id = ?", (file_id,)).fetchone() is not None


def unrecorded(connection: Connection, limit: int) -> list[Row]:
    """The files whose record file isn't written yet."""
    return connection.execute(
        "SELECT * FROM files WHERE NOT recorded AND deleted_at IS NULL ORDER BY seq LIMIT ?", (limit,)
    ).fetchall()


# uploads in parts


def show_upload(connection: Connection, row: Row) -> dict[str, Any]:
    """An upload as the API sends it; a completed one has its file."""
    status = row["status"]
    if status == "pending" and row["expires_at"] <= now():
        status = "expired"
    file = find(connection, row["file_id"]) if row["file_id"] else None
    return {
        "id": row["id"],
        "object": "upload",
        "bytes": row["bytes"],
        "created_at": row["created_at"],
        "expires_at": row["expires_at"],
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": status,
        "file": show(file) if file else None,
    }


def add_upload(
    connection: Connection, *, filename: str, purpose: str, size: int, file_expires_after: int | None
) -> dict[str, Any]:
    """Begin an upload."""
    upload_id, created = new_id("upload_"), now()
    connection.execute(
        "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', NULL)",
        (upload_id, created, created + UPLOAD_SECONDS, filename, purpose, size, file_expires_after),
    )
    return show_upload(connection, upload(connection, upload_id))


def upload(connection: Connection, upload_id: str) -> Row:
    """An upload's record, or 404."""
    row: Row | None = connection.execute("SELECT * FROM uploads WHERE id = ?", (upload_id,)).fetchone()
    if row is None:
        raise not_found("upload", upload_id, param="upload_id")
    return row


def pending_upload(connection: Connection, upload_id: str) -> Row:
    """An upload that accepts parts; refused otherwise."""
    row = upload(connection, upload_id)
    status = show_upload(connection, row)["status"]
    if status != "pending":
        raise Refusal(f"Upload {upload_id} is {status}.", param="upload_id", code=f"upload_{status}")
    return row


def add_part(connection: Connection, upload_id: str, part_id: str, size: int) -> dict[str, Any]:
    """Record a part whose content is in place; refused if the parts exceed the announced size."""
    row = pending_upload(connection, upload_id)
    so_far = connection.execute(
        "SELECT COALESCE(SUM(bytes), 0) FROM upload_parts WHERE upload_id = ?", (upload_id,)
    ).fetchone()[0]
    # a client that missed a reply sends a part twice, and names only one of the two at the end
    if so_far + size > 2 * row["bytes"] + 64 * 2**20:
        raise Refusal(f"The parts of upload {upload_id} exceed its {row['bytes']} bytes.", param="data")
    created = now()
    connection.execute("INSERT INTO upload_parts VALUES (?, ?, ?, ?)", (part_id, upload_id, created, size))
    return {"id": part_id, "object": "upload.part", "created_at": created, "upload_id": upload_id}


def ordered_parts(connection: Connection, upload_id: str, part_ids: Sequence[str]) -> Row:
    """Check that the named parts have exactly the announced size; returns the upload's record."""
    row = pending_upload(connection, upload_id)
    sizes = dict(connection.execute("SELECT id, bytes FROM upload_parts WHERE upload_id = ?", (upload_id,)).fetchall())
    for part_id in part_ids:
        if part_id not in sizes:
            raise Refusal(
                f"No such part in upload {upload_id}: {part_id[:100]}", param="part_ids", code="part_not_found"
            )
    if len(set(part_ids)) != len(part_ids):
        raise Refusal("A part is named twice.", param="part_ids")
    total = sum(sizes[part_id] for part_id in part_ids)
    if total != row["bytes"]:
        raise Refusal(
            f"The parts hold {total} bytes, but the upload was announced with {row['bytes']}.",
            param="part_ids",
            code="upload_bytes_mismatch",
        )
    return row


def complete_upload(connection: Connection, upload_id: str, file: dict[str, Any]) -> dict[str, Any]:
    """End an upload with its file."""
    row = pending_upload(connection, upload_id)
    add(connection, filename=row["filename"], purpose=row["purpose"], expires_after=row["file_expires_after"], **file)
    connection.execute("UPDATE uploads SET status = 'completed', file_id = ? WHERE id = ?", (file["id"], upload_id))
    return show_upload(connection, upload(connection, upload_id))


def cancel_upload(connection: Connection, upload_id: str) -> dict[str, Any]:
    """End an upload without a file."""
    pending_upload(connection, upload_id)
    connection.execute("UPDATE uploads SET status = 'cancelled' WHERE id = ?", (upload_id,))
    return show_upload(connection, upload(connection, upload_id))


def expired_uploads(connection: Connection) -> list[str]:
    """The ids of uploads that weren't completed within an hour, and aren't marked as expired yet."""
    query = "SELECT id FROM uploads WHERE status = 'pending' AND expires_at <= ?"
    return [row["id"] for row in connection.execute(query, (now(),))]


def expire_upload(connection: Connection, upload_id: str) -> None:
    """Mark an upload as expired."""
    connection.execute("UPDATE uploads SET status = 'expired' WHERE id = ? AND status = 'pending'", (upload_id,))


def upload_exists(connection: Connection, upload_id: str) -> bool:
    """Whether there is a record of an upload."""
    return connection.execute("SELECT 1 FROM uploads WHERE id = ?", (upload_id,)).fetchone() is not None


def upload_ended(connection: Connection, upload_id: str) -> bool:
    """Whether an upload was completed or cancelled, or has expired; its parts aren't needed any more."""
    query = "SELECT 1 FROM uploads WHERE id = ? AND status != 'pending'"
    return connection.execute(query, (upload_id,)).fetchone() is not None
