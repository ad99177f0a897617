"""Models that answer: one process for each model in use, a few of them kept loaded.

What asks needs an `Answering`; `Answerers.of` gives one for a model of a trainer. Whoever stops iterating an answer
stops the model from writing it: the process stays, with its model loaded, and takes the next question.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import OrderedDict
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from tuneway_service import devices, gang
from tuneway_service.executors.local import worker_environment
from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from tuneway_service.slots import Slots

WARM = 2
IDLE_SECONDS = 300.0
# longer than any line of an answerer: a stop text may take most of a request, and JSON writes some characters sixfold
LINE_LIMIT = 2**26


def answer_options(
    *,
    max_tokens: int | None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | None = None,
    stop: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The fields of a question that say how to answer it."""
    return {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed, "stop": stop}


class Answering(Protocol):
    """A model that can be asked."""

    def ask(self, question: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """The lines of the answer: pieces of text, then one that says how it ended. Closing it stops the answer."""
        ...


class _Died(Exception):
    """The process has ended."""


class Answerer:
    """The process of one model; it answers one question after another."""

    def __init__(self, trainer: str, folder: str | None, device: Sequence[str] | None = None) -> None:
        # a semaphore, because a lock can only be released by the task that took it, and another one may stream
        self._turn = anyio.Semaphore(1)
        self.askers = 0
        self.used = time.monotonic()
        self.device = device
        self._command = [sys.executable, "-m", "tuneway_service.answerer", trainer, *([folder] if folder else [])]
        self._process: asyncio.subprocess.Process | None = None
        self._questions = 0

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
            raise _model_error() from None

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
            raise _model_error() from None

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


def _model_error() -> Refusal:
    return Refusal("The model's process ended; the service's log has the details.", status=500, code="model_error")


@dataclass(frozen=True)
class _TrainersModel:
    """A model of a trainer, which a process answers for while there are questions, and for a while after."""

    answerers: Answerers
    trainer: str
    folder: str | None

    async def ask(self, question: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Ask the model's process, which is started if there is none."""
        answerer = self.answerers.take((self.trainer, self.folder))
        try:
            await self.answerers.close_surplus()
            async with aclosing(answerer.ask(question)) as lines:
                async for line in lines:
                    yield line
        finally:
            answerer.askers -= 1
            answerer.used = time.monotonic()


class Answerers:
    """The processes; the least recently used is ended first, and none that somebody asks."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._warm: OrderedDict[tuple[str, str | None], Answerer] = OrderedDict()

    def of(self, trainer: str, folder: str | None) -> Answering:
        """The model in an exported folder, or the trainer's base model."""
        return _TrainersModel(self, trainer, folder)

    def take(self, key: tuple[str, str | None]) -> Answerer:
        """The answerer of a model, with one asker more."""
        if key not in self._warm:
            in_use = [name for one in self._warm.values() for name in one.device or ()]
            alone = gang.trains_alone(key[0])
            self._warm[key] = Answerer(*key, device=() if alone else self._slots.for_answers(in_use))
        self._warm.move_to_end(key)
        self._warm[key].askers += 1
        return self._warm[key]

    async def close_surplus(self) -> None:
        """End the processes beyond those that are kept loaded."""
        await self._close([key for key in list(self._warm)[:-WARM] if not self._warm[key].askers])

    async def close_idle(self) -> None:
        """End the processes that have had no question for a while."""
        before = time.monotonic() - IDLE_SECONDS
        await self._close([key for key, one in self._warm.items() if not one.askers and one.used < before])

    async def close(self) -> None:
        """End all processes."""
        await self._close(list(self._warm))

    async def _close(self, keys: Sequence[tuple[str, str | None]]) -> None:
        # all are out of reach before the first is waited for, so that nobody asks one that is about to end
        for answerer in [self._warm.pop(key) for key in keys]:
            await answerer.close()
