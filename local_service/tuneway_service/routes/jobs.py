"""`/fine_tuning/jobs`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tuneway.models import METADATA_PAIRS
from tuneway_service.bodies import CreateJob, parse
from tuneway_service.creation import create_job
from tuneway_service.refusals import Refusal
from tuneway_service.replies import body_fingerprint, created, key_of, listed, service_of
from tuneway_service.states import JobStatus, Move
from tuneway_service.store import events, jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from tuneway_service.store.database import Connection, Row

PAIR = re.compile(r"metadata\[(.*)\]", re.DOTALL)
# a training pauses at its next step, mostly within milliseconds: the reply waits for it, so that clients needn't poll
PAUSE_PATIENCE = 5.0


async def create(request: Request) -> Response:
    """`POST /fine_tuning/jobs`."""
    asked = await parse(request, CreateJob)
    same = body_fingerprint(request, asked)
    return created(await create_job(service_of(request), asked, key=key_of(request), fingerprint=same))


async def list_(request: Request) -> Response:
    """`GET /fine_tuning/jobs`, newest first."""
    query = request.query_params
    pairs = {name: (found[1], value) for name, value in query.items() if (found := PAIR.fullmatch(name))}
    plain = "metadata" in query
    if plain and (query["metadata"] != "null" or pairs):
        raise _bad_filter("it is metadata[KEY]=VALUE, or null alone for jobs without metadata")
    if len(pairs) > METADATA_PAIRS:
        raise _bad_filter(f"a job has at most {METADATA_PAIRS} pairs, {len(pairs)} are asked for")
    return await listed(
        request,
        jobs.rows,
        jobs.show,
        default=20,
        also={"metadata", *pairs},
        metadata=dict(pairs.values()),
        plain=plain,
    )


def _bad_filter(text: str) -> Refusal:
    return Refusal(f"Invalid value for 'metadata': {text}.", param="metadata", code="invalid_value")


async def retrieve(request: Request) -> Response:
    """`GET /fine_tuning/jobs/{job_id}`."""
    return JSONResponse(await service_of(request).database.read(jobs.get, request.path_params["job_id"]))


def _mover(move: Move) -> Callable[[Request], Awaitable[Response]]:
    async def act(request: Request) -> Response:
        service, job_id = service_of(request), request.path_params["job_id"]
        row = await service.steer(job_id, move)
        if row.status == JobStatus.PAUSING:
            with anyio.move_on_after(PAUSE_PATIENCE):
                while row.status == JobStatus.PAUSING:
                    await anyio.sleep(0.02)
                    row = await service.database.read(jobs.find, job_id)
        return JSONResponse(jobs.show(row))

    return act


async def list_events(request: Request) -> Response:
    """`GET /fine_tuning/jobs/{job_id}/events`, newest first."""
    return await listed(request, _of_job(events.rows), events.show, request.path_params["job_id"], default=20)


async def list_checkpoints(request: Request) -> Response:
    """`GET /fine_tuning/jobs/{job_id}/checkpoints`, newest first."""
    rows = _of_job(events.checkpoint_rows)
    return await listed(request, rows, events.show_checkpoint, request.path_params["job_id"], default=10)


def _of_job(rows: Callable[..., list[Row]]) -> Callable[..., list[Row]]:
    """The function `rows`, which takes a job's `seq`, as one that takes the job's id."""

    def find(connection: Connection, job_id: str, **options: Any) -> list[Row]:
        return rows(connection, jobs.find(connection, job_id).seq, **options)

    return find


routes = [
    Route("/fine_tuning/jobs", create, methods=["POST"]),
    Route("/fine_tuning/jobs", list_),
    Route("/fine_tuning/jobs/{job_id}", retrieve),
    Route("/fine_tuning/jobs/{job_id}/cancel", _mover(Move.CANCEL), methods=["POST"]),
    Route("/fine_tuning/jobs/{job_id}/pause", _mover(Move.PAUSE), methods=["POST"]),
    Route("/fine_tuning/jobs/{job_id}/resume", _mover(Move.RESUME), methods=["POST"]),
    Route("/fine_tuning/jobs/{job_id}/events", list_events),
    Route("/fine_tuning/jobs/{job_id}/checkpoints", list_checkpoints),
]
