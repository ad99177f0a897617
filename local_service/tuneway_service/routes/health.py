"""`GET /healthz`: whether the service works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from tuneway import __version__
from tuneway_service.replies import service_of
from tuneway_service.states import JobStatus
from tuneway_service.store import jobs

if TYPE_CHECKING:
    from starlette.requests import Request


async def healthz(request: Request) -> JSONResponse:
    """Reply after a read from the database."""
    counts = await service_of(request).database.read(jobs.counts)
    running = counts.get(JobStatus.RUNNING, 0) + counts.get(JobStatus.PAUSING, 0)
    queued = counts.get(JobStatus.QUEUED, 0)
    slots = service_of(request).supervisor.slots
    gpus = {"gpus": {name: slots.holder(name) for name in slots.devices}} if slots.devices else {}
    return JSONResponse({"status": "ok", "version": __version__, "running": running, "queued": queued, **gpus})
