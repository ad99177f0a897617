"""A model that llama.cpp answers for."""

from __future__ import annotations

import re
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tuneway_service.answers.llamacpp.bases import MOST_SLOTS, LlamaBase
from tuneway_service.answers.llamacpp.wording import Worded, worded
from tuneway_service.answers.offers import LLAMACPP
from tuneway_service.answers.together import together
from tuneway_service.answers.upstream import BrokenOff
from tuneway_service.answers.usage import Usage
from tuneway_service.refusals import Refusal, model_died

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from tuneway_service.answer_formats import CompletionFormat
    from tuneway_service.answers.llamacpp.files import GgufModel
    from tuneway_service.answers.llamacpp.server import LlamaServer
    from tuneway_service.answers.question import ModelQuestion
    from tuneway_service.answers.shelf import Shelf


TOO_LONG = re.compile(r"request \((\d+) tokens\) exceeds the available context size \((\d+) tokens\)")


@dataclass(frozen=True)
class LlamaModel:
    """A base model, or one with an adapter.

    Args:
        shelf: The models that are loaded.
        gguf: The model's files.
    """

    shelf: Shelf
    gguf: GgufModel

    @property
    def engine(self) -> str:
        """The engine: `llamacpp`."""
        return LLAMACPP

    async def whole(self, question: ModelQuestion) -> dict[str, Any]:
        """The reply that isn't streamed; its answers are written at the same time."""
        usage, path = Usage(question.each), question.path

        async def one(index: int, asked: Mapping[str, Any]) -> dict[str, Any]:
            async with self._server(asked) as (server, body):
                reply = await server.upstream.post(path, body.body)
            counted = reply["usage"]
            usage.add(index, counted["prompt_tokens"], counted["completion_tokens"])
            return {"index": index, "logprobs": None} | _choice(question.form, reply["choices"][0])

        works = [partial(one, index, asked) for index, asked in enumerate(question.singly())]
        choices = await together(works, MOST_SLOTS)
        return {"choices": choices, "usage": usage.wire()}

    async def chunks(self, question: ModelQuestion) -> AsyncGenerator[dict[str, Any]]:
        """The events of the streamed reply."""
        usage = Usage(question.each)
        for index, asked in enumerate(question.singly()):
            async with aclosing(self._pieces(question, asked, index, usage)) as pieces:
                async for content, end in pieces:
                    yield {"choices": [{"index": index, "logprobs": None, "finish_reason": end} | content]}
        yield {"choices": [], "usage": usage.wire()}

    async def _pieces(
        self, question: ModelQuestion, asked: Mapping[str, Any], index: int, usage: Usage
    ) -> AsyncGenerator[tuple[dict[str, Any], str | None]]:
        """The pieces of one answer as the API sends them, each with the finish reason if it is the last."""
        form, held, reason = question.form, list[str](), "stop"
        async with self._server(asked) as (server, body):
            # a tool call can only be recognised when the whole answer is there
            holds = body.reads_calls and bool(asked.get("tools"))
            streamed = {**body.body, "stream_options": {"include_usage": True}}
            yield form.opening(), None
            async with aclosing(server.upstream.stream(question.path, streamed)) as events:
                async for event in events:
                    if event.get("usage"):
                        counted = event["usage"]
                        usage.add(index, counted["prompt_tokens"], counted["completion_tokens"])
                    for choice in event["choices"]:
                        text = _text(choice)
                        if holds:
                            held.append(text)
                        elif text:
                            yield form.piece(text), None
                        reason = choice.get("finish_reason") or reason
        if held:
            content, reason = form.at_once("".join(held), reason)
            yield content, None
        yield form.closing(), reason

    @asynccontextmanager
    async def _server(self, asked: Mapping[str, Any]) -> AsyncIterator[tuple[LlamaServer, Worded]]:
        """The server that answers, and the body to send; it isn't ended before the block is."""
        with self.shelf.use(("llamacpp", self.gguf.weights), self._make) as base:
            if not base.started:
                await self.shelf.make_room(base)
            server = await base.server(self.gguf.adapter)
            place = None if self.gguf.adapter is None else server.adapters.index(self.gguf.adapter)
            body = worded(asked, server.template, place, len(server.adapters))
            with server.answering():
                try:
                    yield server, body
                except BrokenOff:
                    raise model_died() from None
                except Refusal as refusal:
                    raise _worded_refusal(refusal) from None

    def _make(self, device: Sequence[str] | None) -> LlamaBase:
        return LlamaBase(self.gguf, device)


def _worded_refusal(refusal: Refusal) -> Refusal:
    """A refusal of llama.cpp in the words of the other engines."""
    if found := TOO_LONG.search(refusal.message):
        text = (
            f"the conversation has {found[1]} tokens; this model's context has {found[2]}. Shorten it."
            " With --serve-with transformers the context is as long as the model's own."
        )
        return Refusal(text, param=refusal.param, code="context_length_exceeded")
    return refusal


def _text(choice: Mapping[str, Any]) -> str:
    if "text" in choice:
        return str(choice["text"])
    return str((choice.get("delta") or choice.get("message") or {}).get("content") or "")


def _choice(form: CompletionFormat, choice: Mapping[str, Any]) -> dict[str, Any]:
    """A finished answer as the API sends it."""
    return form.answer(_text(choice), choice["finish_reason"])
