"""A running process with llama.cpp's server."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

from tuneway_service import devices
from tuneway_service.answers.llamacpp.grammars import HEAD
from tuneway_service.answers.upstream import Upstream
from tuneway_service.executors.local import worker_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# threads that sleep while they wait: by default they spin, which takes many times as long on a busy machine
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
LINE_LIMIT = 2**24
NOTICE_SECONDS = 1.0


class LoadFailed(Exception):
    """llama.cpp has not loaded a model."""


class LlamaServer:
    """One process. It is ended when it is retired and its last answer is there.

    Args:
        adapters: The files of the adapters that it has; a question gives the place of one.
    """

    def __init__(self, adapters: Sequence[Path]) -> None:
        self.adapters = tuple(adapters)
        self.upstream: Upstream
        self.is_guided = False
        self.template = ""
        self._process: asyncio.subprocess.Process | None = None
        self._running = 0
        self._retired = False
        self._ending: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    async def start(self, order: Mapping[str, Any], device: Sequence[str] | None) -> None:
        """Start the process, and wait until it has loaded the model. The order is what `process` reads."""
        key = secrets.token_urlsafe(32)
        with anyio.CancelScope(shield=True):  # a process that is half started would be nobody's
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"{__package__}.process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_LIMIT,
                env=worker_environment() | ENVIRONMENT | devices.visible(device),
            )
            said = await self._told({**order, "key": key, "adapters": [str(path) for path in self.adapters]})
            self.upstream = Upstream(said["address"], key)
            self.is_guided = str(said["grammar"]).startswith(HEAD)
            self.template = str((await self.upstream.get("/props"))["chat_template"])

    async def _told(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give the order, and read what the process says when it has loaded the model."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(ConnectionError):  # the end of the other side is noticed below
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()
        text = await self._process.stdout.readline()
        if not text.endswith(b"\n"):
            await self.close()
            raise LoadFailed
        said: dict[str, Any] = json.loads(text)
        return said

    async def notice_end(self) -> None:
        """After an answer that broke off, wait until the process is known to have ended; it may not have."""
        if self._process is not None:
            with anyio.move_on_after(NOTICE_SECONDS):
                await self._process.wait()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """An answer is written meanwhile."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._end_if_done()

    def retire(self) -> None:
        """End the process as soon as its answers are there."""
        self._retired = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._retired and not self._running and self.alive:
            self._ending = asyncio.get_running_loop().create_task(self.close())

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            with suppress(AttributeError):  # it has never been up
                await self.upstream.close()
