"""Operations on uploads in parts, for files that are too large for one request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuneway.calls._http import Call, FilePart, Form, Request, Source, reading, segment, sendable
from tuneway.models import Upload, UploadPart


def create(
    *,
    filename: str,
    size: int,
    purpose: str = "fine-tune",
    mime_type: str = "application/jsonl",
    expires_after: int | None = None,
) -> Call[Upload]:
    """Begin an upload. One that is never completed expires within an hour and costs nothing."""
    body: dict[str, Any] = {
        "filename": sendable(filename),
        "purpose": purpose,
        "bytes": size,
        "mime_type": mime_type,
    }
    if expires_after is not None:
        body["expires_after"] = {"anchor": "created_at", "seconds": expires_after}
    return Call(Request("POST", "/uploads", json=body), reading(Upload))


def add_part(
    upload_id: str,
    source: Source | Path | bytes,
    *,
    offset: int = 0,
    length: int | None = None,
) -> Call[UploadPart]:
    """Send a part. Sending it twice does no harm, since `complete` lists the parts to use."""
    form = Form((), FilePart("data", "part", source, offset, length))
    return Call(Request("POST", f"/uploads/{segment(upload_id)}/parts", form=form), reading(UploadPart))


def complete(upload_id: str, *, part_ids: Sequence[str], md5: str | None = None) -> Call[Upload]:
    """Join the parts, in this order."""
    body: dict[str, Any] = {"part_ids": list(part_ids)} | ({"md5": md5} if md5 else {})
    path = f"/uploads/{segment(upload_id)}/complete"
    return Call(Request("POST", path, json=body, repeatable=False), reading(Upload))


def cancel(upload_id: str) -> Call[Upload]:
    """Cancel an upload."""
    return Call(Request("POST", f"/uploads/{segment(upload_id)}/cancel"), reading(Upload))
