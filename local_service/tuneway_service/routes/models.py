"""`/models`: the base models and the tuned models, with what each really is."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tuneway.errors import TunewayError
from tuneway_service.ids import now
from tuneway_service.refusals import Refusal, not_found
from tuneway_service.replies import service_of
from tuneway_service.store import models

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from tuneway_service.service import Service
    from tuneway_service.store.database import Row


LISTED = 1000


def show(model: str, created: int, card: dict[str, Any]) -> dict[str, Any]:
    """A model as the API sends it, with the card of its trainer."""
    return {
        "id": model,
        "object": "model",
        "created": created,
        "owned_by": f"tuneway:{card['trainer']}",
        "shutdown_date": None,
        "trainer": card,
    }


def _show_base(service: Service, name: str, card: dict[str, Any]) -> dict[str, Any]:
    return show(name, service.started_at, card) | {"tunable": True}


def _card(service: Service, trainer: str) -> dict[str, Any]:
    try:
        return {"trainer": trainer} | service.catalogue.trainer(trainer).describe()
    except TunewayError as error:
        # a tuned model is listed even if its base model or a library is missing now
        return {"trainer": trainer, "summary": f"It can't be used here now: {error.message}"}


def cards_of(service: Service, trainers: set[str]) -> dict[str, dict[str, Any]]:
    """The model card of each trainer. Blocks: some trainers import large libraries."""
    return {trainer: _card(service, trainer) for trainer in trainers}


async def list_(request: Request) -> Response:
    """`GET /models`: the base models and the newest tuned models; this list has no pages."""
    service = service_of(request)
    rows = await service.database.read(models.newest, LISTED)
    return Response(await anyio.to_thread.run_sync(_list, service, rows), media_type="application/json")


def _list(service: Service, rows: list[Row]) -> bytes:
    bases = service.catalogue.bases
    cards = cards_of(service, {*bases.values(), *(row["trainer"] for row in rows)})
    data = [_show_base(service, name, cards[trainer]) for name, trainer in bases.items()]
    data += [_show_tuned(row, cards[row["trainer"]]) for row in rows]
    return json.dumps({"object": "list", "data": data}).encode()


def _show_tuned(row: Row, card: dict[str, Any]) -> dict[str, Any]:
    return show(row["id"], row["created_at"], card) | {"fine_tuning_job_id": row["job_id"]}


async def retrieve(request: Request) -> Response:
    """`GET /models/{model}`."""
    service, name = service_of(request), request.path_params["model"]
    if name in service.catalogue.bases:
        trainer = service.catalogue.bases[name]
        shown = _show_base(service, name, await anyio.to_thread.run_sync(_card, service, trainer))
        return JSONResponse(shown | await anyio.to_thread.run_sync(_engine, service, trainer, None))
    row = await service.database.read(models.find, name)
    if row is None:
        raise not_found("model", name, param="model")
    trainer, place = row["trainer"], service.catalogue.place(row)
    shown = _show_tuned(row, await anyio.to_thread.run_sync(_card, service, trainer))
    return JSONResponse(shown | await anyio.to_thread.run_sync(_engine, service, trainer, place))


def _engine(service: Service, trainer: str, place: Path | None) -> dict[str, Any]:
    """The engine that answers for a model; blocks."""
    chosen = service.engines.choice(trainer, place)
    return {"engine": {"name": chosen.engine} | ({"why": chosen.why} if chosen.why else {})}


async def delete(request: Request) -> Response:
    """`DELETE /models/{model}`: delete a tuned model and its weights."""
    service, name = service_of(request), request.path_params["model"]
    if name in service.catalogue.bases:
        raise Refusal(f"{name} is a base model: only tuned models can be deleted.", status=403, param="model")
    row = await service.database.write(models.delete, name)
    place = service.catalogue.place(row)
    await anyio.to_thread.run_sync(_remove, service, place)
    return JSONResponse({"id": name, "object": "model", "deleted": True, "created_at": now()})


def _remove(service: Service, place: Path) -> None:
    service.engines.forget(place)
    shutil.rmtree(place, ignore_errors=True)


routes = [
    Route("/models", list_),
    Route("/models/{model:path}", retrieve),
    Route("/models/{model:path}", delete, methods=["DELETE"]),
]
