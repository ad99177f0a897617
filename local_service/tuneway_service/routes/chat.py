"""`/chat/completions` and `/completions`: ask base models and tuned models."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tuneway_service.answers import Answering, ModelQuestion
from tuneway_service.bodies import parse
from tuneway_service.chat_bodies import ChatCompletion, Completion, CompletionBody
from tuneway_service.ids import new_id, now
from tuneway_service.refusals import Refusal, not_found
from tuneway_service.replies import service_of
from tuneway_service.store import models

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from tuneway_service.service import Service

T = TypeVar("T")

HUNG_UP = 499
"""The status in the log for a client that hangs up before its reply."""


async def chat(request: Request) -> Response:
    """`POST /chat/completions`."""
    return await _respond(request, await parse(request, ChatCompletion))


async def complete(request: Request) -> Response:
    """`POST /completions`."""
    return await _respond(request, await parse(request, Completion))


async def _respond(request: Request, asked: CompletionBody) -> Response:
    model = await while_connected(request, lambda: find_model(service_of(request), asked.model))
    if model is None:
        return Response(status_code=HUNG_UP)
    question = ModelQuestion(asked.options_for(model.engine))
    reply = _Reply(model, question, asked)
    if not asked.stream:
        whole = await while_connected(request, reply.whole)
        return Response(status_code=HUNG_UP) if whole is None else JSONResponse(whole)
    events = reply.events()
    # wait for the first event, so that a refusal becomes an error reply and not a broken stream
    first = await while_connected(request, events.__anext__)
    return Response(status_code=HUNG_UP) if first is None else _AnswerStream(first, events)


async def while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T | None:
    """Do the work for a request whose body has been read; None if the client hangs up before it is done."""
    result: T | None = None
    error: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result = await work()
        except Exception as raised:  # noqa: BLE001 - a group would wrap it
            error = raised
        group.cancel_scope.cancel()
    if error is not None:
        raise error
    return result


class _AnswerStream(StreamingResponse):
    """Server-sent events. When the client hangs up, the answer is stopped at once, and not when it is collected."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes]) -> None:
        super().__init__(_with(first, rest), media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest):
            await super().__call__(scope, receive, send)


async def _with(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def find_model(service: Service, name: str) -> Answering:
    """A base or a tuned model; 404 if it doesn't exist."""
    if name in service.catalogue.bases:
        return await service.engines.find(name, service.catalogue.bases[name], None)
    row = await service.database.read(models.find, name)
    if row is None:
        raise not_found("model", name, param="model")
    return await service.engines.find(name, row["trainer"], service.catalogue.place(row))


class _Reply:
    """The reply to one request: what the model gives, with the id and the names of this service."""

    def __init__(self, model: Answering, question: ModelQuestion, asked: CompletionBody) -> None:
        self._model = model
        self._question = question
        self._shows_usage = asked.stream_options is not None and asked.stream_options.include_usage
        head = new_id(question.form.prefix), now(), asked.model
        self._head = dict(zip(("id", "created", "model"), head, strict=True)) | {"system_fingerprint": None}

    async def whole(self) -> dict[str, Any]:
        """The reply that isn't streamed."""
        found = await self._model.whole(self._question)
        return self._head | {"object": self._question.form.kind} | found

    async def events(self) -> AsyncGenerator[bytes]:
        """The events of the streamed reply. A failure after the first event is an event too, the last one."""
        head = self._head | {"object": self._question.form.chunk_kind}
        begun = False
        async with aclosing(self._model.chunks(self._question)) as chunks:
            try:
                async for chunk in chunks:
                    if self._shows_usage or chunk["choices"]:
                        begun = True
                        yield _event(head | ({"usage": None} if self._shows_usage else {}) | chunk)
            except Refusal as refusal:
                if not begun:
                    raise
                yield _event(refusal.content())
                return
        yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


routes = [
    Route("/chat/completions", chat, methods=["POST"]),
    Route("/completions", complete, methods=["POST"]),
]
