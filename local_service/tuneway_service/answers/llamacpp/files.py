"""The GGUF files of models, each made once by a process and kept in the data folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from tuneway_service import devices
from tuneway_service.executors.local import worker_environment
from tuneway_service.trainers.hf import smol
from tuneway_service.trainers.hf.base import Base, find_base
from tuneway_service.trainers.hf.facts import ADAPTER, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuneway_service.settings import Settings


class NotWritable(Exception):
    """A model can't be written as GGUF; the text says why."""


@dataclass(frozen=True)
class GgufModel:
    """The files of one model.

    Args:
        base: The base model that Tuneway's trainer knows.
        weights: The file with all weights.
        adapter: The file of the adapter, if there is one.
    """

    base: Base
    weights: Path
    adapter: Path | None


class GgufFiles:
    """Makes the files, and keeps them."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.gguf_dir
        for unfinished in self._folder.glob("*.part"):  # of a process that was killed
            unfinished.unlink(missing_ok=True)
        self._making: dict[Path, asyncio.Task[None]] = {}
        self._refused: dict[Path, str] = {}
        self._processes: set[asyncio.subprocess.Process] = set()

    async def of(self, trainer: str, tuned: Path | None) -> GgufModel:
        """The files of a model, made now if they don't exist; raises `NotWritable`."""
        base, weights, adapter = await anyio.to_thread.run_sync(self._plan, trainer, tuned)
        whole_is_tuned = tuned is not None and adapter is None
        await self._have(weights, base, tuned if whole_is_tuned else None)
        if adapter is not None:
            await self._have(adapter, base, tuned, adapter=True)
        return GgufModel(base, weights, adapter)

    def refusal(self, trainer: str, tuned: Path | None) -> str | None:
        """Why a model can't be written, as far as that was found out. Blocks."""
        _, weights, adapter = self._plan(trainer, tuned)
        return self._refused.get(weights) or (self._refused.get(adapter) if adapter else None)

    def refuse(self, model: GgufModel) -> None:
        """Note that llama.cpp can't load a model."""
        self._refused[model.adapter or model.weights] = "llama.cpp can't load it; the service's log has the details"

    def forget(self, tuned: Path) -> None:
        """Remove the files of a tuned model that is about to be deleted. Blocks."""
        for kind in ("adapter", "whole"):
            with suppress(OSError):
                (self._folder / _name(kind, tuned)).unlink(missing_ok=True)

    async def close(self) -> None:
        """End the processes that write."""
        for process in list(self._processes):
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def _plan(self, trainer: str, tuned: Path | None) -> tuple[Base, Path, Path | None]:
        """The base, the file of the weights, and the file of the adapter."""
        base = find_base(trainer.removeprefix(PREFIX))
        if tuned is not None and not (tuned / ADAPTER).exists():
            return base, self._folder / _name("whole", tuned), None
        adapter = None if tuned is None else self._folder / _name("adapter", tuned)
        if base.name == smol.NAME:
            return base, smol.find_weights(), adapter
        return base, self._folder / _name("base", base.folder()), adapter

    async def _have(self, place: Path, base: Base, tuned: Path | None, *, adapter: bool = False) -> None:
        if place in self._refused:
            raise NotWritable(self._refused[place])
        if place not in self._making and not await anyio.to_thread.run_sync(place.exists):
            order = {"base": base.name, "tuned": tuned and str(tuned), "to": str(place), "adapter": adapter}
            task = self._making[place] = asyncio.create_task(self._make(place, order))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waited may have left
        if place in self._making:
            # whoever leaves doesn't stop it: others may wait for the same file
            await asyncio.shield(self._making[place])

    async def _make(self, place: Path, order: dict[str, Any]) -> None:
        try:
            await anyio.to_thread.run_sync(lambda: place.parent.mkdir(parents=True, exist_ok=True))
            said = await self._run(order)
            if not await anyio.to_thread.run_sync(place.exists):
                self._refused[place] = said
                raise NotWritable(said)
        finally:
            del self._making[place]

    async def _run(self, order: dict[str, Any]) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"{__package__}.convert", json.dumps(order)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=worker_environment() | devices.visible(()),
        )
        self._processes.add(process)
        try:
            output, _ = await process.communicate()
        finally:
            self._processes.discard(process)
        lines = output.decode(errors="replace").splitlines()
        with suppress(ValueError, LookupError, TypeError):
            return str(json.loads(lines[-1])["refused"])
        return f"writing it as GGUF failed (exit status {process.returncode}); the service's log has the details"


def _name(kind: str, source: Path) -> str:
    """The name of the file that is made from a folder, other than that of a folder whose weights have changed."""
    return f"{kind}-{hashlib.sha256(repr((str(source), *_stamps(source))).encode()).hexdigest()[:24]}.gguf"


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".json", ".jinja"):
            found = path.stat()
            yield path.name, found.st_size, found.st_mtime_ns
