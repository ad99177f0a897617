"""How much is computed at once: as many tokens as the memory holds.

A batch is computed in parts, so how large they are doesn't change what is learned. When a part doesn't fit, what was
begun is discarded and computed again in smaller parts: first with half as many tokens, down to where a GPU would get
slower; then with gradient checkpointing, which computes the values between layers twice in place of keeping them; then
with fewer tokens again.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from tuneway.errors import InvalidSpec
from tuneway_service.trainers.base import Remark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

AT_ONCE = {"cpu": 1024, "cuda": 32_768}
"""How many tokens, including padding, are computed at once at most."""
ENOUGH = 4096
"""With fewer tokens at once than this, a GPU gets slower; then gradient checkpointing costs less."""


class Room:
    """What fits into memory: begun with an estimate, then found by trying.

    Args:
        model: The model, with its adapter if it has one.
        kind: The kind of its device: "cpu" or "cuda".
        checkpointing: Whether gradient checkpointing is on from the start; "auto" switches it on when it is needed.
    """

    def __init__(self, model: Any, kind: str = "cpu", checkpointing: Literal["auto", True, False] = "auto") -> None:
        self._model = model
        self.tokens = AT_ONCE[kind]
        self.checkpointing = False
        self._may_switch_on = checkpointing == "auto"
        self._told: list[Remark] = []
        if checkpointing is True and not self._switch_on():
            raise InvalidSpec(
                f"a {type(model).__name__} has no gradient checkpointing",
                field="gradient_checkpointing",
                hint='Leave it at "auto".',
            )

    def begin(self, tokens: int, *, checkpointing: bool) -> None:
        """Begin with what was estimated to fit."""
        self.tokens = min(self.tokens, tokens)
        if checkpointing and self._may_switch_on and self._switch_on():
            self._may_switch_on = False

    def fit(self, work: Callable[[], T], sizes: Sequence[int], *, learning: bool = False) -> T:
        """Do work, and do it again in smaller parts as long as it doesn't fit into memory.

        Args:
            work: Reads `tokens` anew each time. It may have left gradients behind when it doesn't fit: they are
                discarded.
            sizes: The tokens of each of the things that are computed; each is computed whole.
            learning: Whether gradients are computed, so that gradient checkpointing helps.
        """
        while True:
            try:
                return work()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or not self._reduce(sizes, learning=learning):
                    raise
            # only now is the failed work's memory held by nothing
            self._model.zero_grad(set_to_none=True)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _reduce(self, sizes: Sequence[int], *, learning: bool) -> bool:
        """Compute less at once from now on; False if nothing is left to reduce."""
        largest, needed = max(sizes, default=0), min(self.tokens, sum(sizes))
        if needed > max(largest, ENOUGH):
            self.tokens = needed // 2
        elif learning and self._may_switch_on and self._switch_on():
            self._may_switch_on = False
        elif needed > largest:
            self.tokens = needed // 2
        else:
            return False
        how = " with gradient checkpointing" if self.checkpointing else ""
        text = f"Out of memory: from now on up to {self.tokens:,} tokens are computed at once{how}"
        self._told.append(Remark(text, mark=f"room:{self.tokens}:{self.checkpointing}"))
        return True

    def _switch_on(self) -> bool:
        if not switch_on_checkpointing(self._model):
            return False
        self.checkpointing = True
        return True

    def told(self) -> tuple[Remark, ...]:
        """What has changed since the last call."""
        told, self._told = tuple(self._told), []
        return told

    def saved(self) -> dict[str, Any]:
        """What a resumed training has to know."""
        return {"tokens": self.tokens, "checkpointing": self.checkpointing}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on with what was found before."""
        self.tokens = min(self.tokens, saved["tokens"])
        if saved["checkpointing"] and not self.checkpointing and self._may_switch_on:
            self._switch_on()


def switch_on_checkpointing(model: Any) -> bool:
    """Have a model compute with gradient checkpointing from now on; False if it has none."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(plain, "supports_gradient_checkpointing", False):
        return False
    # Transformers 5.24 renamed it
    enable = getattr(plain, "activation_checkpointing_enable", None) or plain.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    return True


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of the libraries means that memory is full."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error).lower()
