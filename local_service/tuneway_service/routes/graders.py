"""`/fine_tuning/alpha/graders`: check a grader, and try it on one answer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import anyio.from_thread
import anyio.to_thread
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tuneway_service.answers import ask_for_text
from tuneway_service.bodies import RunGrader, ValidateGrader, parse
from tuneway_service.catalogue import refuse_bad_grader
from tuneway_service.graders import Grading, Limits, ModelSample, grade
from tuneway_service.replies import service_of
from tuneway_service.routes.chat import find_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from tuneway_service.graders import Inner
    from tuneway_service.service import Service

Given = TypeVarTuple("Given")
Result = TypeVar("Result")


def limits_of(service: Service, *, stopped: Callable[[], bool] = lambda: False) -> Limits:
    """What graders may do in this service; model graders ask the models of this service."""

    def ask(model: str, messages: list[dict[str, Any]], sampling: dict[str, Any]) -> tuple[str, int]:
        return anyio.from_thread.run(_ask, service, model, messages, sampling)

    return Limits(python=service.settings.allow_python_graders, ask=ask, stopped=stopped)


async def _ask(
    service: Service, model: str, messages: list[dict[str, Any]], sampling: dict[str, Any]
) -> tuple[str, int]:
    return await ask_for_text(await find_model(service, model), messages, **sampling)


async def validate(request: Request) -> Response:
    """`POST …/validate`."""
    asked = await parse(request, ValidateGrader)
    await _vet(service_of(request), asked.grader)
    return JSONResponse({"grader": asked.grader.model_dump(mode="json", exclude_none=True)})


async def run(request: Request) -> Response:
    """`POST …/run`."""
    asked, began = await parse(request, RunGrader), time.perf_counter()
    service = service_of(request)
    await _vet(service, asked.grader)
    # an older parameter, which templates read as a field of the item
    item = asked.item if asked.item is not None else {"reference_answer": asked.reference_answer}
    stopped = threading.Event()
    limits = limits_of(service, stopped=stopped.is_set)
    try:
        grading = await _apart(service, grade, asked.grader, ModelSample(asked.model_sample), item, limits)
    finally:
        # the thread ends early if this request was cancelled
        stopped.set()
    return JSONResponse(_reply(asked, grading, time.perf_counter() - began))


async def _vet(service: Service, grader: Inner) -> None:
    await _apart(service, refuse_bad_grader, grader, limits_of(service))


async def _apart(service: Service, work: Callable[[*Given], Result], *given: *Given) -> Result:
    """Do work in one of the few threads for graders. A request that is cancelled doesn't wait for it."""
    return await anyio.to_thread.run_sync(work, *given, limiter=service.grading, abandon_on_cancel=True)


def _reply(asked: RunGrader, grading: Grading, seconds: float) -> dict[str, Any]:
    return {
        "reward": grading.reward,
        "metadata": {
            "name": asked.grader.name,
            "type": asked.grader.type,
            "errors": grading.flags(),
            "execution_time": round(seconds, 6),
            "scores": grading.scores,
            "token_usage": sum(grading.tokens.values()) or None,
            "sampled_model_name": getattr(asked.grader, "model", None),
        },
        "sub_rewards": grading.scores,
        "model_grader_token_usage_per_model": grading.tokens,
    }


ROOT = "/fine_tuning/alpha/graders"
routes = [
    Route(ROOT + "/validate", validate, methods=["POST"]),
    Route(ROOT + "/run", run, methods=["POST"]),
]
