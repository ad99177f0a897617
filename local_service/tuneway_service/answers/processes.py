"""The engines `transformers` and `bytes`: a trainer's own model in a process, which answers one question at a time.

Whoever stops iterating an answer stops the model from writing it: the process stays, with its model loaded, and takes
the next question.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from tuneway_service import devices, gang
from tuneway_service.answers.offers import BYTES, TRANSFORMERS
from tuneway_service.answers.usage import Usage
from tuneway_service.executors.local import worker_environment
from tuneway_service.refusals import Refusal, model_died

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from tuneway_service.answers.question import ModelQuestion
    from tuneway_service.answers.shelf import Shelf

# longer than any line of an answerer: a stop text may take most of a request, and JSON writes some characters sixfold
LINE_LIMIT = 2**26
OPTIONS = ("max_tokens", "temperature", "top_p", "seed", "stop")


class _Died(Exception):
    """The process has ended."""


class Answerer:
    """The process of one model; it answers one question after another."""

    def __init__(self, trainer: str, folder: str | None, device: Sequence[str] | None = None, size: int = 0) -> None:
        # a semaphore, because a lock can only be released by the task that took it, and another one may stream
        self._turn = anyio.Semaphore(1)
        self.device = device
        self.size = size
        self._command = [sys.executable, "-m", "tuneway_service.answerer", trainer, *([folder] if folder else [])]
        self._process: asyncio.subprocess.Process | None = None
        self._questions = 0

    @property
    def started(self) -> bool:
        """Whether the process has been started."""
        return self._process is not None

    async def ask(self, question: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The lines of the answer; the last one says how the answer ended."""
        async with self._turn:
            self._questions += 1
            number, finished = self._questions, False
            try:
                line = await self._put(dict(question) | {"id": number})
                while "text" in line:
                    yield line
                    line = await self._line(number)
                finished = True
            finally:
                if not finished:
                    self._stop(number)
        yield line

    async def _put(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask; a process that has ended since its last use is started again, once."""
        if self._process is not None:
            with suppress(_Died):
                return await self._exchange(question)
        try:
            await self._start()
            return await self._exchange(question)
        except _Died:
            raise model_died() from None

    async def _start(self) -> None:
        await self.close()
        with anyio.CancelScope(shield=True):  # a process that is half started would be nobody's
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_LIMIT,
                env=worker_environment() | devices.visible(self.device),
            )

    async def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        self._write(question)
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            await self._process.stdin.drain()
        except ConnectionError:
            raise _Died from None
        return await self._read(question["id"])

    def _write(self, line: dict[str, Any]) -> None:
        """Queue a line for the process. A line that can't arrive is dropped; the next read notices the end."""
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps(line).encode() + b"\n")

    def _stop(self, number: int) -> None:
        """Tell the process that nobody wants this answer any more. Its lines that still come are skipped."""
        self._write({"cancel": number})

    async def _line(self, number: int) -> dict[str, Any]:
        try:
            return await self._read(number)
        except _Died:
            raise model_died() from None

    async def _read(self, number: int) -> dict[str, Any]:
        """The next line of the answer to this question."""
        if self._process is None or self._process.stdout is None:
            raise _Died
        lines = self._process.stdout
        while True:
            text = await lines.readline()
            if not text.endswith(b"\n"):
                raise _Died
            line: dict[str, Any] = json.loads(text)
            if line["id"] == number:
                return line

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@dataclass(frozen=True)
class TrainersModel:
    """A model of a trainer, which a process answers for while there are questions, and for a while after.

    Args:
        shelf: The models that are loaded.
        trainer: The name of the trainer.
        folder: The folder of a tuned model; None for the trainer's base model.
        size: Gives about how many bytes the model needs.
    """

    shelf: Shelf
    trainer: str
    folder: str | None
    size: Callable[[], int]

    @property
    def engine(self) -> str:
        """The engine: `bytes` or `transformers`."""
        return BYTES if self.trainer == BYTES else TRANSFORMERS

    async def whole(self, question: ModelQuestion) -> dict[str, Any]:
        """The reply that isn't streamed."""
        choices, usage = [], Usage(question.each)
        for index, asked in enumerate(question.singly()):
            text, end = [], {}
            async with aclosing(self._lines(asked)) as lines:
                async for line in lines:
                    if "text" in line:
                        text.append(line["text"])
                    else:
                        end = line
            usage.add(index, end["prompt_tokens"], end["completion_tokens"])
            answer = question.form.answer("".join(text), end["finish_reason"])
            choices.append({"index": index, "logprobs": None} | answer)
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
        held: list[str] | None = [] if asked.get("tools") else None
        opened = False
        async with aclosing(self._lines(asked)) as lines:
            async for line in lines:
                if not opened:
                    opened = True
                    yield question.form.opening(), None
                if "text" not in line:
                    usage.add(index, line["prompt_tokens"], line["completion_tokens"])
                    reason = line["finish_reason"]
                    if held:
                        # a tool call can only be recognised when the whole answer is there
                        content, reason = question.form.at_once("".join(held), reason)
                        yield content, None
                    yield question.form.closing(), reason
                elif held is not None:
                    held.append(line["text"])
                else:
                    yield question.form.piece(line["text"]), None

    async def _lines(self, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The lines of one answer by the model's process, which is started if there is none."""
        key, alone = (self.trainer, self.folder), gang.trains_alone(self.trainer)
        with self.shelf.use(key, lambda device: self._process(device), alone=alone) as answerer:  # noqa: PLW0108 - typed
            if not answerer.started:
                await self.shelf.make_room(answerer)
            async with aclosing(answerer.ask(_in_full(asked))) as lines:
                async for line in lines:
                    yield _checked(line)

    def _process(self, device: Sequence[str] | None) -> Answerer:
        return Answerer(self.trainer, self.folder, device, self.size())


def _in_full(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A question with every field that a process reads. Without a temperature it is 1, as at OpenAI."""
    given = {name: asked[name] for name in ("messages", "prompt", "tools") if name in asked}
    options: dict[str, Any] = {name: asked.get(name) for name in OPTIONS}
    for name in ("temperature", "top_p"):
        options[name] = 1.0 if options[name] is None else options[name]
    if isinstance(options["stop"], str):
        options["stop"] = [options["stop"]]
    return given | options


def _checked(line: dict[str, Any]) -> dict[str, Any]:
    if "refused" in line:
        raise Refusal(line["refused"], param=line.get("field"), code="invalid_value")
    if "failed" in line:
        raise Refusal(f"The model failed: {line['failed']}", status=500, code="model_error")
    return line
