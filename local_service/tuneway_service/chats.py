"""Models that answer: one process for each model in use, a few of them kept loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from tuneway_service.executors.local import worker_environment
from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WARM = 2
IDLE_SECONDS = 300.0


class _Died(Exception):
    """The process has ended."""


class Answerer:
    """The process of one model; it answers one question after another."""

    def __init__(self, trainer: str, folder: str | None) -> None:
        # a semaphore, because a lock can only be released by the task that took it, and another one may stream
        self.turn = anyio.Semaphore(1)
        self.askers = 0
        self.used = time.monotonic()
        self._command = [sys.executable, "-m", "tuneway_service.answerer", trainer, *([folder] if folder else [])]
        self._process: subprocess.Popen[str] | None = None

    async def ask(self, question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The lines of the answer; the last one says how the answer ended."""
        finished = False
        self.askers += 1
        try:
            async with self.turn:
                try:
                    line = await anyio.to_thread.run_sync(self._put, question)
                    while "text" in line:
                        yield line
                        line = await anyio.to_thread.run_sync(self._line)
                    finished = True
                finally:
                    if not finished:
                        # the client has gone: end the process, or the next question would get the rest of this answer
                        with anyio.CancelScope(shield=True):
                            await anyio.to_thread.run_sync(self.close)
            yield line
        finally:
            self.askers -= 1
            self.used = time.monotonic()

    def _put(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask; a process that has ended since its last use is started again, once."""
        try:
            return self._exchange(question) if self._process is not None else self._afresh(question)
        except (BrokenPipeError, _Died):
            pass
        try:
            return self._afresh(question)
        except (BrokenPipeError, _Died):
            raise _model_error() from None

    def _afresh(self, question: dict[str, Any]) -> dict[str, Any]:
        self.close()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=worker_environment(),
        )
        self._read()
        return self._exchange(question)

    def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _line(self) -> dict[str, Any]:
        try:
            return self._read()
        except _Died:
            raise _model_error() from None

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise _Died
        line: dict[str, Any] = json.loads(text)
        return line

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()
            process.wait()


def _model_error() -> Refusal:
    return Refusal("The model's process ended; the service's log has the details.", status=500, code="model_error")


class Answerers:
    """The processes; the least recently used is ended first."""

    def __init__(self) -> None:
        self._warm: OrderedDict[tuple[str, str | None], Answerer] = OrderedDict()

    async def of(self, trainer: str, folder: str | None) -> Answerer:
        """The process for a model: an exported folder, or None for the trainer's base model."""
        key = (trainer, folder)
        if key not in self._warm:
            self._warm[key] = Answerer(trainer, folder)
        self._warm.move_to_end(key)
        for other in list(self._warm)[:-WARM]:
            if not self._warm[other].askers:
                await anyio.to_thread.run_sync(self._warm.pop(other).close)
        return self._warm[key]

    async def close_idle(self) -> None:
        """End the processes that have had no question for a while."""
        for key, answerer in list(self._warm.items()):
            if not answerer.askers and time.monotonic() - answerer.used > IDLE_SECONDS:
                await anyio.to_thread.run_sync(self._warm.pop(key).close)

    def close(self) -> None:
        """End all processes."""
        for answerer in self._warm.values():
            answerer.close()
        self._warm.clear()
