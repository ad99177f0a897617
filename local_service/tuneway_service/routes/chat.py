"""`/chat/completions` and `/completions`: ask base models and tuned models."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tuneway_service.answer_formats import CHAT, TEXT, CompletionFormat
from tuneway_service.bodies import parse
from tuneway_service.chat_bodies import ChatCompletion, Completion, CompletionBody
from tuneway_service.chats import answer_options
from tuneway_service.ids import new_id, now
from tuneway_service.refusals import Refusal, not_found
from tuneway_service.replies import service_of
from tuneway_service.store import models

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from tuneway_service.chats import Answering
    from tuneway_service.service import Service

T = TypeVar("T")

HUNG_UP = 499
"""The status in the log for a client that hangs up before its reply."""


async def chat(request: Request) -> Response:
    """`POST /chat/completions`."""
    asked = await parse(request, ChatCompletion)
    tools = [tool.model_dump(exclude_none=True) for tool in asked.tools or ()]
    question = {"messages": [message.plain() for message in asked.messages], "tools": tools or None}
    return await _respond(request, asked, CHAT, [question])


async def complete(request: Request) -> Response:
    """`POST /completions`."""
    asked = await parse(request, Completion)
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    return await _respond(request, asked, TEXT, [{"prompt": prompt} for prompt in prompts])


async def _respond(
    request: Request, asked: CompletionBody, form: CompletionFormat, questions: list[dict[str, Any]]
) -> Response:
    asked.refuse_unsupported()
    model = await find_model(service_of(request), asked.model)
    answers = _Answers(model, asked, form, questions)
    if not asked.stream:
        whole = await while_connected(request, answers.whole)
        return Response(status_code=HUNG_UP) if whole is None else JSONResponse(whole)
    chunks = answers.chunks()
    # wait for the first chunk, so that a refusal becomes an error reply and not a broken stream
    first = await while_connected(request, chunks.__anext__)
    return Response(status_code=HUNG_UP) if first is None else _AnswerStream(first, chunks)


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
        return service.answerers.of(service.catalogue.bases[name], None)
    row = await service.database.read(models.find, name)
    if row is None:
        raise not_found("model", name, param="model")
    return service.answerers.of(row["trainer"], str(service.catalogue.place(row)))


async def answer(model: Answering, question: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A whole answer, and the line that says how it ended."""
    text, end = [], {}
    async with aclosing(model.ask(question)) as lines:
        async for line in lines:
            if "text" in line:
                text.append(line["text"])
            else:
                end = _checked(line)
    return "".join(text), end


def _checked(line: dict[str, Any]) -> dict[str, Any]:
    if "refused" in line:
        raise Refusal(line["refused"], param=line.get("field"), code="invalid_value")
    if "failed" in line:
        raise Refusal(f"The model failed: {line['failed']}", status=500, code="model_error")
    return line


class _Usage:
    def __init__(self) -> None:
        self.prompt = self.completion = 0

    def add(self, end: dict[str, Any], *, with_prompt: bool) -> None:
        self.prompt += end["prompt_tokens"] if with_prompt else 0
        self.completion += end["completion_tokens"]

    def wire(self) -> dict[str, int]:
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}


class _Answers:
    """The answers to one request: some for each question, one after another."""

    def __init__(
        self, model: Answering, asked: CompletionBody, form: CompletionFormat, questions: list[dict[str, Any]]
    ) -> None:
        self.model = model
        self.form = form
        self.each = asked.n or 1
        self.asks = [
            question
            | answer_options(
                max_tokens=asked.most_tokens(),
                temperature=1.0 if asked.temperature is None else asked.temperature,
                top_p=1.0 if asked.top_p is None else asked.top_p,
                seed=asked.seed_of(number),
                stop=asked.stops(),
            )
            for question in questions
            for number in range(self.each)
        ]
        self.usage = _Usage()
        self.shows_usage = asked.stream_options is not None and asked.stream_options.include_usage
        self.head = {"id": new_id(form.prefix), "created": now(), "model": asked.model, "system_fingerprint": None}

    def _count(self, index: int, end: dict[str, Any]) -> None:
        # several answers to one question share its prompt
        self.usage.add(end, with_prompt=index % self.each == 0)

    async def whole(self) -> dict[str, Any]:
        """The reply that isn't streamed."""
        choices = []
        for index, question in enumerate(self.asks):
            text, end = await answer(self.model, question)
            self._count(index, end)
            choices.append({"index": index, "logprobs": None} | self.form.answer(text, end["finish_reason"]))
        return self.head | {"object": self.form.kind, "choices": choices, "usage": self.usage.wire()}

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The events of the streamed reply."""
        head = self.head | {"object": self.form.chunk_kind}
        extra = {"usage": None} if self.shows_usage else {}
        for index in range(len(self.asks)):
            async with aclosing(self._pieces(index)) as pieces:
                async for content, end in pieces:
                    choice = {"index": index, "logprobs": None, "finish_reason": end} | content
                    yield _event(head | extra | {"choices": [choice]})
        if self.shows_usage:
            yield _event(head | {"choices": [], "usage": self.usage.wire()})
        yield b"data: [DONE]\n\n"

    async def _pieces(self, index: int) -> AsyncGenerator[tuple[dict[str, Any], str | None]]:
        """The pieces of one answer as the API sends them, each with the finish reason if it is the last."""
        question = self.asks[index]
        held: list[str] | None = [] if question.get("tools") else None
        opened = False
        async with aclosing(self.model.ask(question)) as lines:
            async for line in lines:
                end = None if "text" in line else _checked(line)
                if not opened:
                    opened = True
                    yield self.form.opening(), None
                if end is not None:
                    self._count(index, end)
                    reason = end["finish_reason"]
                    if held:
                        # a tool call can only be recognised when the whole answer is there
                        content, reason = self.form.at_once("".join(held), reason)
                        yield content, None
                    yield self.form.closing(), reason
                elif held is not None:
                    held.append(line["text"])
                else:
                    yield self.form.piece(line["text"]), None


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


routes = [
    Route("/chat/completions", chat, methods=["POST"]),
    Route("/completions", complete, methods=["POST"]),
]
