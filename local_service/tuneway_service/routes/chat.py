"""`/chat/completions` and `/completions`: ask base models and tuned models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tuneway_service.answer_formats import CHAT, TEXT, CompletionFormat
from tuneway_service.bodies import ChatCompletion, Completion, parse
from tuneway_service.ids import new_id, now
from tuneway_service.refusals import Refusal, not_found
from tuneway_service.replies import service_of
from tuneway_service.store import models

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from tuneway_service.chats import Answerer
    from tuneway_service.service import Service

# Options that would change the answer and aren't supported: only the values that change nothing are accepted.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (None, 1),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "auto"),
    "functions": (None, []),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
}


async def chat(request: Request) -> Response:
    """`POST /chat/completions`."""
    asked = await parse(request, ChatCompletion)
    messages = [message.model_dump(exclude_unset=True) for message in asked.messages]
    question = {"messages": messages, "tools": asked.tools}
    most = asked.max_completion_tokens or asked.max_tokens
    return await _respond(service_of(request), asked, CHAT, [question], most)


async def complete(request: Request) -> Response:
    """`POST /completions`."""
    asked = await parse(request, Completion)
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    return await _respond(
        service_of(request), asked, TEXT, [{"prompt": prompt} for prompt in prompts], asked.max_tokens
    )


async def _respond(
    service: Service,
    asked: ChatCompletion | Completion,
    form: CompletionFormat,
    questions: list[dict[str, Any]],
    most: int | None,
) -> Response:
    for name, value in (asked.model_extra or {}).items():
        if name in NEUTRAL and value not in NEUTRAL[name]:
            text = f"Unsupported value: {name!r} can't be set here; this service uses {NEUTRAL[name][-1]!r}."
            raise Refusal(text, param=name, code="unsupported_value")
    answerer = await find_model(service, asked.model)
    common = {"max_tokens": most, "temperature": asked.temperature or 0.0, "stop": asked.stops}
    # several answers to one question differ because of their seeds
    asks = [
        question | common | {"seed": (asked.seed or 0) + number if asked.seed is not None or number else None}
        for question in questions
        for number in range(asked.n or 1)
    ]
    head = {"id": new_id(form.prefix), "created": now(), "model": asked.model, "system_fingerprint": None}
    if asked.stream:
        want_usage = bool((asked.stream_options or {}).get("include_usage"))
        chunks = _stream(answerer, asks, head | {"object": form.chunk_kind}, form, want_usage=want_usage)
        # wait for the first chunk, so that a refusal becomes an error reply and not a broken stream
        first = await anext(chunks)
        return StreamingResponse(
            _with(first, chunks), media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )
    choices, usage = [], _Usage()
    for index, question in enumerate(asks):
        text, end = await answer(answerer, question)
        usage.add(end)
        choices.append({"index": index, "logprobs": None} | form.answer(text, end["finish_reason"]))
    return JSONResponse(head | {"object": form.kind, "choices": choices, "usage": usage.wire()})


async def find_model(service: Service, name: str) -> Answerer:
    """The process that answers for a base or a tuned model; 404 if the model doesn't exist."""
    if name in service.catalogue.bases:
        return await service.answerers.of(service.catalogue.bases[name], None)
    row = await service.database.read(models.find, name)
    if row is None:
        raise not_found("model", name, param="model")
    return await service.answerers.of(row["trainer"], str(service.catalogue.place(row)))


async def answer(answerer: Answerer, question: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A whole answer, and the line that says how it ended."""
    text, end = [], {}
    async for line in answerer.ask(question):
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

    def add(self, end: dict[str, Any]) -> None:
        self.prompt += end["prompt_tokens"]
        self.completion += end["completion_tokens"]

    def wire(self) -> dict[str, int]:
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}


async def _stream(
    answerer: Answerer, asks: list[dict[str, Any]], head: dict[str, Any], form: CompletionFormat, *, want_usage: bool
) -> AsyncIterator[bytes]:
    usage = _Usage()
    extra = {"usage": None} if want_usage else {}
    for index, question in enumerate(asks):
        async for content, end in _pieces(answerer, question, form, usage):
            choice = {"index": index, "logprobs": None, "finish_reason": end} | content
            yield _event(head | extra | {"choices": [choice]})
    if want_usage:
        yield _event(head | {"choices": [], "usage": usage.wire()})
    yield b"data: [DONE]\n\n"


async def _pieces(
    answerer: Answerer, question: dict[str, Any], form: CompletionFormat, usage: _Usage
) -> AsyncIterator[tuple[dict[str, Any], str | None]]:
    """The pieces of one answer as the API sends them, each with the finish reason if it is the last."""
    held: list[str] | None = [] if question.get("tools") else None
    opened = False
    async for line in answerer.ask(question):
        end = None if "text" in line else _checked(line)
        if not opened:
            opened = True
            yield form.opening(), None
        if end is not None:
            usage.add(end)
            reason = end["finish_reason"]
            if held:
                # a tool call can only be recognised when the whole answer is there
                content, reason = form.at_once("".join(held), reason)
                yield content, None
            yield form.closing(), reason
        elif held is not None:
            held.append(line["text"])
        else:
            yield form.piece(line["text"]), None


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


routes = [
    Route("/chat/completions", chat, methods=["POST"]),
    Route("/completions", complete, methods=["POST"]),
]
