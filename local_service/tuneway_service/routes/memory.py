"""`POST /fine_tuning/memory`: how much memory a training would need here. OpenAI's API has no such request."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import anyio
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tuneway_service import devices, gang
from tuneway_service.bodies import EstimateMemory, parse
from tuneway_service.executors.local import worker_environment
from tuneway_service.refusals import Refusal
from tuneway_service.replies import service_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tuneway_service.service import Service

COMMAND = (sys.executable, "-m", "tuneway_service.trainers.hf.estimating")
SECONDS = 120.0
HF = "hf:"


async def estimate(request: Request) -> Response:
    """Estimate it, in a process of its own."""
    asked, service = await parse(request, EstimateMemory), service_of(request)
    trainer, _ = await service.database.read(service.catalogue.find, asked.model)
    if gang.trains_alone(trainer) or not trainer.startswith(HF):
        raise _unknown(f"the trainer {trainer!r} has no estimate; it takes less than 100 MB")
    method = asked.settled_method()
    kind, requested = method["type"], method[method["type"]].get("hyperparameters", {})
    await anyio.to_thread.run_sync(service.catalogue.vet, trainer, kind, requested)
    question = {"base": trainer.removeprefix(HF), "method": kind, "requested": requested,
                "rows": asked.rows, "longest": asked.longest_row, "here": service.settings.ray is None}  # fmt: skip
    found = await _answer(service, question)
    if found is None:
        raise _unknown("this model has no estimate: its code doesn't run without its weights")
    return JSONResponse({"object": "memory_estimate", "model": asked.model} | found)


async def _answer(service: Service, question: dict[str, Any]) -> dict[str, Any] | None:
    shown = devices.visible(service.supervisor.slots.for_answers(()))
    with anyio.move_on_after(SECONDS):
        async with service.estimating:
            done = await anyio.run_process(
                COMMAND, input=json.dumps(question).encode(), env=worker_environment() | shown, check=False, stderr=None
            )
        if done.returncode == 0:
            found: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1])
            return found
    return None


def _unknown(why: str) -> Refusal:
    return Refusal(f"The memory can't be estimated: {why}.", param="model", code="no_estimate")


routes = [Route("/fine_tuning/memory", estimate, methods=["POST"])]
