"""`/fine_tuning/checkpoints/{model}/permissions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tuneway_service.bodies import GrantPermissions, parse
from tuneway_service.replies import listed, order_of, service_of
from tuneway_service.store import models

if TYPE_CHECKING:
    from starlette.requests import Request


async def grant(request: Request) -> Response:
    """`POST …/permissions`."""
    asked = await parse(request, GrantPermissions)
    write = service_of(request).database.write
    granted = await write(models.grant, request.path_params["model"], asked.project_ids)
    data = [models.show_permission(row) for row in granted]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return JSONResponse({"object": "list", "data": data, **ends, "has_more": False})


async def list_(request: Request) -> Response:
    """`GET …/permissions`."""
    return await listed(
        request,
        models.permission_rows,
        models.show_permission,
        request.path_params["model"],
        default=10,
        also=("order", "project_id"),
        newest_first=order_of(request, words=("ascending", "descending")),
        project_id=request.query_params.get("project_id"),
    )


async def revoke(request: Request) -> Response:
    """`DELETE …/permissions/{permission_id}`."""
    model, permission_id = request.path_params["model"], request.path_params["permission_id"]
    await service_of(request).database.write(models.revoke, model, permission_id)
    return JSONResponse({"id": permission_id, "object": "checkpoint.permission", "deleted": True})


ROOT = "/fine_tuning/checkpoints/{model:path}/permissions"
routes = [
    Route(ROOT, grant, methods=["POST"]),
    Route(ROOT, list_),
    Route(ROOT + "/{permission_id}", revoke, methods=["DELETE"]),
]
