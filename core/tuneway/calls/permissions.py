"""Operations on checkpoint permissions, which say what projects may use a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from tuneway.calls._http import Call, Request, query, reading, segment
from tuneway.models import Deleted, Page, Permission, page_of


def _root(checkpoint: str) -> str:
    return f"/fine_tuning/checkpoints/{segment(checkpoint)}/permissions"


def create(checkpoint: str, *, project_ids: Sequence[str]) -> Call[Page[Permission]]:
    """Share a checkpoint with projects."""
    request = Request("POST", _root(checkpoint), json={"project_ids": list(project_ids)}, repeatable=False)
    return Call(request, reading(page_of(Permission)))


def listing(
    checkpoint: str,
    *,
    after: str | None = None,
    limit: int | None = None,
    order: str | None = None,
    project_id: str | None = None,
) -> Call[Page[Permission]]:
    """List one page of a checkpoint's permissions."""
    parameters = query(after=after, limit=limit, order=order, project_id=project_id)
    return Call(Request("GET", _root(checkpoint), query=parameters), reading(page_of(Permission)))


def delete(checkpoint: str, *, permission_id: str) -> Call[Deleted]:
    """Revoke a permission."""
    return Call(Request("DELETE", f"{_root(checkpoint)}/{segment(permission_id)}"), reading(Deleted))
