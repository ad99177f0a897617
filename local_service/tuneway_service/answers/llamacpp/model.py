"""A model that llama.cpp answers for."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from tuneway_service.answers.llamacpp.bases import MOST_SLOTS, LlamaBase
from tuneway_service.answers.llamacpp.finished import WholeAnswer, finished, misfit, native, probabilities
from tuneway_service.answers.llamacpp.server import LoadFailed
from tuneway_service.answers.llamacpp.wording import Worded, worded
from tuneway_service.answers.offers import LLAMACPP
from tuneway_service.answers.together import together
from tuneway_service.answers.upstream import BrokenOff
from tuneway_service.answers.usage import Usage
from tuneway_service.refusals import Refusal, model_died

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from tuneway_service.answers.llamacpp.files import GgufModel
    from tuneway_service.answers.llamacpp.server import LlamaServer
    from tuneway_service.answers.question import ModelQuestion
    from tuneway_service.answers.shelf import Shelf

TOO_LONG = re.compile(r"request \((\d+) tokens\) exceeds the available context size \((\d+) tokens\)")
UNREADABLE = "does not match the expected"
CHAT_PATH = "/v1/chat/completions"
TEXT_PATH = "/v1/completions"

Piece: TypeAlias = tuple[dict[str, Any], str | None]
Counting: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class LlamaModel:
    """A base model, or one with an adapter.

    Args:
        shelf: The models that are loaded.
        gguf: The model's files.
        unloadable: Called if llama.cpp can't load them.
    """

    shelf: Shelf
    gguf: GgufModel
    unloadable: Callable[[GgufModel], None]

    @property
    def engine(self) -> str:
        """The engine: `llamacpp`."""
        return LLAMACPP

    async def whole(self, question: ModelQuestion) -> dict[str, Any]:
        """The reply that isn't streamed; its answers are written at the same time."""
        usage = Usage(question.each)

        async def one(index: int, asked: Mapping[str, Any]) -> dict[str, Any]:
            answer = await self._finished(question, asked)
            usage.add(index, answer.prompt_tokens, answer.completion_tokens)
            return {"index": index, "logprobs": answer.logprobs, "finish_reason": answer.reason} | answer.content

        works = [partial(one, index, asked) for index, asked in enumerate(question.singly())]
        choices = await together(works, MOST_SLOTS)
        return {"choices": choices, "usage": usage.wire()}

    async def chunks(self, question: ModelQuestion) -> AsyncGenerator[dict[str, Any]]:
        """The events of the streamed reply."""
        usage = Usage(question.each)
        for index, asked in enumerate(question.singly()):
            async with aclosing(self._pieces(question, asked, partial(usage.add, index))) as pieces:
                async for content, end in pieces:
                    yield {"choices": [{"index": index, "logprobs": None, "finish_reason": end} | content]}
        yield {"choices": [], "usage": usage.wire()}

    async def _finished(self, question: ModelQuestion, asked: Mapping[str, Any]) -> WholeAnswer:
        """One answer, when it is whole."""
        async with self._server(asked) as (server, body):
            if body.is_native and (answer := await _native(server, body)) is not None:
                return answer
            prompt = await _prompt(server, body)
            reply = await server.upstream.post(TEXT_PATH, body.plain(prompt))
            text, reason = reply["choices"][0]["text"], reply["choices"][0]["finish_reason"]
            if name := misfit(asked, text, reason):
                # `strict`: the call is written again, held to the parameters
                again = body.choosing(name)
                reply = await server.upstream.post(TEXT_PATH, again.plain(prompt))
                return finished(question.form, again, reply)
            return finished(question.form, body, reply)

    async def _pieces(
        self, question: ModelQuestion, asked: Mapping[str, Any], count: Counting
    ) -> AsyncGenerator[Piece]:
        """The pieces of one answer as the API sends them, each with the finish reason if it is the last."""
        if asked.get("tools") and asked.get("tool_choice") != "none":
            pieces = self._pieces_with_calls(question, asked, count)
        else:
            pieces = self._pieces_of_text(question, asked, count)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _pieces_with_calls(
        self, question: ModelQuestion, asked: Mapping[str, Any], count: Counting
    ) -> AsyncGenerator[Piece]:
        form = question.form
        # a tool call can only be recognised when the whole answer is there
        answer = await self._finished(question, asked)
        count(answer.prompt_tokens, answer.completion_tokens)
        yield form.opening(), None
        message = {name: value for name, value in answer.content["message"].items() if name not in ("role", "refusal")}
        for number, call in enumerate(message.get("tool_calls", ())):
            message["tool_calls"][number] = {"index": number} | call
        yield {"delta": message, "logprobs": answer.logprobs}, None
        yield form.closing(), answer.reason

    async def _pieces_of_text(
        self, question: ModelQuestion, asked: Mapping[str, Any], count: Counting
    ) -> AsyncGenerator[Piece]:
        form = question.form
        text, reason = "", "stop"
        counted: Mapping[str, int] = {}
        async with self._server(asked) as (server, body):
            options = {**body.plain(await _prompt(server, body)), "stream_options": {"include_usage": True}}
            async with aclosing(server.upstream.stream(TEXT_PATH, options)) as events:
                opened = False
                async for event in events:
                    if not opened:
                        opened = True
                        yield form.opening(), None
                    counted = event.get("usage") or counted
                    for choice in event["choices"]:
                        reason = choice.get("finish_reason") or reason
                        if choice["text"]:
                            yield (
                                form.piece(choice["text"]) | {"logprobs": probabilities(body, choice, len(text))},
                                None,
                            )
                            text += choice["text"]
            count(counted["prompt_tokens"], counted["completion_tokens"])
            # refused here if it isn't what was asked for
            finished(form, body, {"choices": [{"text": text, "finish_reason": reason}], "usage": counted})
        yield form.closing(), reason

    @asynccontextmanager
    async def _server(self, asked: Mapping[str, Any]) -> AsyncIterator[tuple[LlamaServer, Worded]]:
        """The server that answers, and the question for it; it isn't ended before the block is."""
        with self.shelf.use((LLAMACPP, self.gguf.weights), self._make) as base:
            if not base.started:
                await self.shelf.make_room(base)
            try:
                server = await base.server(self.gguf.adapter)
            except LoadFailed:
                self.unloadable(self.gguf)
                raise _not_loaded() from None
            place = None if self.gguf.adapter is None else server.adapters.index(self.gguf.adapter)
            with server.answering():
                _check_build(server, asked)
                try:
                    yield server, worded(asked, server.template, place, len(server.adapters))
                except BrokenOff:
                    await server.notice_end()
                    raise model_died() from None
                except Refusal as refusal:
                    raise _worded_refusal(refusal) from None

    def _make(self, device: Sequence[str] | None) -> LlamaBase:
        return LlamaBase(self.gguf, device)


def _not_loaded() -> Refusal:
    return Refusal(
        "llama.cpp can't load this model; the service's log has the details. Ask again: Transformers answers now.",
        status=503,
        code="model_error",
        headers={"retry-after": "1"},
    )


def _check_build(server: LlamaServer, asked: Mapping[str, Any]) -> None:
    """Refuse what needs llguidance, with which the packages on PyPI are built."""
    for name in ("response_format", "tool_choice"):
        if not server.is_guided and asked.get(name) not in (None, "auto", "none"):
            text = f"This build of llama.cpp can't heed '{name}': it is built without llguidance."
            raise Refusal(text, param=name, code="unsupported_value")


async def _native(server: LlamaServer, body: Worded) -> WholeAnswer | None:
    """The answer whose calls llama.cpp reads itself; None if it is text that llama.cpp can't read as an answer."""
    try:
        return native(await server.upstream.post(CHAT_PATH, body.native()), body)
    except Refusal as refusal:
        if UNREADABLE not in refusal.message or body.has_to_call:
            raise
        return None


async def _prompt(server: LlamaServer, body: Worded) -> str:
    """The prompt of a question; llama.cpp renders that of a conversation."""
    if body.messages is None:
        return str(body.asked["prompt"])
    return str((await server.upstream.post("/apply-template", body.rendered()))["prompt"])


def _worded_refusal(refusal: Refusal) -> Refusal:
    """A refusal of llama.cpp in the words of the other engines."""
    if found := TOO_LONG.search(refusal.message):
        text = (
            f"the conversation has {found[1]} tokens; this model's context has {found[2]}. Shorten it."
            " With --serve-with transformers the context is as long as the model's own."
        )
        return Refusal(text, param=refusal.param, code="context_length_exceeded")
    return refusal
