"""Which engine answers for a model."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio.to_thread

from tuneway.errors import MissingExtra, TunewayError
from tuneway_service import gang
from tuneway_service.answers.llamacpp.files import GgufFiles, NotWritable
from tuneway_service.answers.llamacpp.model import LlamaModel
from tuneway_service.answers.offers import BYTES, LLAMACPP, TRANSFORMERS, VLLM
from tuneway_service.answers.processes import TrainersModel
from tuneway_service.answers.shelf import Shelf
from tuneway_service.answers.vllm import Vllm
from tuneway_service.devices import is_gpu
from tuneway_service.settings import AUTO, VLLM_KEY
from tuneway_service.trainers.hf.base import find_base
from tuneway_service.trainers.hf.facts import PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from tuneway_service.answers.question import Answering
    from tuneway_service.settings import Settings
    from tuneway_service.slots import Slots

log = logging.getLogger(__name__)

GPU_PROGRAM = """
import sys, xllamacpp
kinds = [str(device["type"]) for device in xllamacpp.get_device_info()]
sys.exit(0 if any("GPU" in kind for kind in kinds) else 3)
"""
PROGRAM_SECONDS = 60.0


@dataclass(frozen=True)
class EngineChoice:
    """An engine, and why it isn't another one."""

    engine: str
    why: str | None = None


class Engines:
    """The engines of a service.

    Args:
        settings: The settings of the service.
        slots: The devices, and which jobs have them.
    """

    def __init__(self, settings: Settings, slots: Slots) -> None:
        self._settings = settings
        self._shelf = Shelf(slots)
        self._files = GgufFiles(settings)
        self._gpus = any(map(is_gpu, slots.devices or ()))
        self._told: set[str] = set()
        url = settings.vllm_url
        self._vllm = None if url is None else Vllm(url, os.environ.get(VLLM_KEY))
        self._no_llama = None if self._vllm else self._why_no_llama()

    def _why_no_llama(self) -> str | None:
        """Why llama.cpp answers for no model here; None if it does."""
        if self._settings.serve_with == TRANSFORMERS:
            return "the service was started with --serve-with transformers"
        missing = [name for name in ("xllamacpp", "gguf") if find_spec(name) is None]
        if missing and self._settings.serve_with == LLAMACPP:
            raise MissingExtra(f"--serve-with llamacpp needs {missing[0]}, which isn't installed", extra="llamacpp")
        if missing:
            return f"{missing[0]} isn't installed"
        if self._gpus and self._settings.serve_with == AUTO and not _llama_has_gpus():
            return "the xllamacpp that is installed has no support for GPUs, and there are some"
        return None

    async def find(self, name: str, trainer: str, folder: Path | None) -> Answering:
        """The model in an exported folder, or the trainer's base model, with what its engine needs made."""
        chosen = await anyio.to_thread.run_sync(self.choice, trainer, folder)
        if chosen.engine == VLLM and self._vllm is not None:
            return self._vllm.model(name, trainer, folder)
        if chosen.engine == LLAMACPP:
            try:
                return LlamaModel(self._shelf, await self._files.of(trainer, folder), self._files.refuse)
            except NotWritable as refused:
                self._tell(trainer, str(refused))
        return TrainersModel(
            self._shelf, trainer, str(folder) if folder else None, partial(_size, trainer, gpus=self._gpus)
        )

    def choice(self, trainer: str, folder: Path | None) -> EngineChoice:
        """The engine that answers for a model, as far as it is known before the first question. Blocks."""
        if gang.trains_alone(trainer):
            return EngineChoice(BYTES)
        if self._vllm is not None:
            return EngineChoice(VLLM)
        try:
            refusal = self._no_llama or self._files.refusal(trainer, folder)
        except (TunewayError, OSError) as error:
            refusal = f"its base model can't be used: {error}"
        return EngineChoice(TRANSFORMERS, refusal) if refusal else EngineChoice(LLAMACPP)

    def _tell(self, trainer: str, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            log.warning("transformers answers instead of llamacpp", extra={"trainer": trainer, "why": why})

    def forget(self, folder: Path) -> None:
        """Remove what was made of a tuned model that is about to be deleted. Blocks."""
        self._files.forget(folder)
        if self._vllm is not None:
            self._vllm.forget(folder)

    async def close_idle(self) -> None:
        """End the models that have had no question for a while."""
        await self._shelf.close_idle()

    async def close(self) -> None:
        """End all models."""
        await self._files.close()
        await self._shelf.close()
        if self._vllm is not None:
            await self._vllm.close()


def _size(trainer: str, *, gpus: bool) -> int:
    """About how many bytes a model of Transformers needs."""
    if not trainer.startswith(PREFIX):
        return 0
    try:
        return find_base(trainer.removeprefix(PREFIX)).parameters * (2 if gpus else 4)
    except TunewayError:
        return 0  # its process says what is wrong


def _llama_has_gpus() -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", GPU_PROGRAM], capture_output=True, timeout=PROGRAM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
