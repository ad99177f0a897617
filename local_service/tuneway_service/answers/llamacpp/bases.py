"""One base model in llama.cpp, with the adapters that have been asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from tuneway_service.answers.llamacpp.server import LlamaServer
from tuneway_service.answers.memory import free_memory
from tuneway_service.trainers.hf import smol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.answers.llamacpp.files import GgufModel
    from tuneway_service.trainers.hf.base import Base

MOST_SLOTS = 8
"""How many answers one process writes at once, at most."""
SHARE = 4
"""What is kept for the attention to earlier tokens is at most this part of the free memory."""
USUAL = 8192
"""The context that is enough for most; a longer one must not cost the others their turn."""


class LlamaBase:
    """The server of one base. A new adapter means a second server, which takes over from the first.

    Args:
        gguf: The files of a model of this base.
        device: The devices that the server sees.
    """

    def __init__(self, gguf: GgufModel, device: Sequence[str] | None) -> None:
        self._gguf = gguf
        self.device = device
        self.size = int(gguf.weights.stat().st_size * 1.1)
        self._server: LlamaServer | None = None
        self._former: list[LlamaServer] = []
        self._turn = anyio.Lock()

    @property
    def started(self) -> bool:
        """Whether there is a server."""
        return self._server is not None and self._server.alive

    async def server(self, adapter: Path | None) -> LlamaServer:
        """The server that has this adapter, started if there is none."""
        async with self._turn:
            current = self._server if self.started else None
            if current is not None and (adapter is None or adapter in current.adapters):
                return current
            known = self._server.adapters if self._server is not None else ()
            kept = await anyio.to_thread.run_sync(lambda: [path for path in known if path.exists()])
            wanted = dict.fromkeys([*kept, adapter] if adapter is not None else kept)
            new = LlamaServer(list(wanted))
            await new.start(await anyio.to_thread.run_sync(self._order), self.device)
            self._server = new
            if current is not None:
                self._former = [*(each for each in self._former if each.alive), current]
                current.retire()
            return new

    def _order(self) -> dict[str, Any]:
        slots, context = slots_and_context(self._gguf.base, self.device)
        exact = self._gguf.base.dtype == "float32"
        return {"weights": str(self._gguf.weights), "slots": slots, "context": context, "exact": exact}

    async def close(self) -> None:
        """End the server, and those that still write answers."""
        servers = [*self._former, *([self._server] if self._server is not None else [])]
        self._former, self._server = [], None
        for server in servers:
            await server.close()


def slots_and_context(base: Base, device: Sequence[str] | None) -> tuple[int, int]:
    """How many answers are written at once, and how long each may be with its prompt: what memory there is for."""
    known = free_memory(device)
    if known is None:
        return 1, base.context_length
    room = known[0] // SHARE // bytes_per_token(base)
    slots = max(1, min(MOST_SLOTS, room // min(base.context_length, USUAL)))
    return slots, min(base.context_length, max(USUAL, room // slots))


def bytes_per_token(base: Base) -> int:
    """What llama.cpp keeps for each token of a context."""
    width = 4 if base.dtype == "float32" else 2
    if base.name == smol.NAME:
        return smol.KEYS_AND_VALUES * width
    content = json.loads((Path(base.name) / "config.json").read_bytes())
    config = content.get("text_config") or content
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    return int(2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * size * width)
