"""Operations on files."""

from __future__ import annotations

from pathlib import Path

from tuneway.calls._http import (
    CONTENT_LIMIT,
    Call,
    FilePart,
    Form,
    Request,
    Response,
    Source,
    query,
    reading,
    segment,
    sendable,
)
from tuneway.models import Deleted, File, Page, page_of


def create(
    source: Source | Path | bytes, *, filename: str, purpose: str = "fine-tune", expires_after: int | None = None
) -> Call[File]:
    """Upload a file; `expires_after` in seconds."""
    fields = [("purpose", purpose)]
    if expires_after is not None:
        fields += [("expires_after[anchor]", "created_at"), ("expires_after[seconds]", str(expires_after))]
    form = Form(tuple(fields), FilePart("file", sendable(filename), source))
    return Call(Request("POST", "/files", form=form, repeatable=False), reading(File))


def listing(
    *,
    purpose: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    order: str | None = None,
) -> Call[Page[File]]:
    """List one page of files."""
    parameters = query(purpose=purpose, after=after, limit=limit, order=order)
    return Call(Request("GET", "/files", query=parameters), reading(page_of(File)))


def retrieve(file_id: str) -> Call[File]:
    """Get one file's metadata."""
    return Call(Request("GET", f"/files/{segment(file_id)}"), reading(File))


def content(file_id: str) -> Call[bytes]:
    """Get one file's bytes."""
    path = f"/files/{segment(file_id)}/content"
    return Call(Request("GET", path, headers={"accept": "*/*"}, reply_limit=CONTENT_LIMIT, verbatim=True), _bytes)


def delete(file_id: str) -> Call[Deleted]:
    """Delete a file."""
    return Call(Request("DELETE", f"/files/{segment(file_id)}"), reading(Deleted))


def _bytes(response: Response) -> bytes:
    return response.content
