"""The models that are loaded: which device each has, and which is ended when memory is short or nobody asks."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import anyio.to_thread

from tuneway_service.answers.memory import free_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuneway_service.slots import Slots

IDLE_SECONDS = 300.0
RESERVE = 0.1
"""The share of the memory that loading a model leaves free."""


class Loaded(Protocol):
    """A model in memory, or one that will be."""

    device: Sequence[str] | None
    size: int
    """About how many bytes it needs."""

    async def close(self) -> None:
        """Free the memory."""
        ...


L = TypeVar("L", bound=Loaded)


class _Place(Generic[L]):
    def __init__(self, model: L) -> None:
        self.model = model
        self.askers = 0
        self.used = time.monotonic()


class Shelf:
    """Models by key. The least recently used is ended first, and none that somebody asks.

    Args:
        slots: The devices, and which jobs have them.
        memory: The bytes that are free on a device, and all it has; None if it isn't known.
    """

    def __init__(
        self,
        slots: Slots,
        memory: Callable[[Sequence[str] | None], tuple[int, int] | None] = free_memory,
    ) -> None:
        self._slots = slots
        self._memory = memory
        self._places: OrderedDict[Hashable, _Place[Loaded]] = OrderedDict()

    @contextmanager
    def use(self, key: Hashable, make: Callable[[Sequence[str] | None], L], *, alone: bool = False) -> Iterator[L]:
        """Ask a model, which is made if it isn't there.

        Args:
            key: What tells models apart.
            make: Makes the model for a device, without loading it yet.
            alone: Whether it needs no device.
        """
        if key not in self._places:
            in_use = [name for place in self._places.values() for name in place.model.device or ()]
            self._places[key] = _Place(make(() if alone else self._slots.for_answers(in_use)))
        self._places.move_to_end(key)
        place = self._places[key]
        place.askers += 1
        try:
            yield place.model  # type: ignore[misc]
        finally:
            place.askers -= 1
            place.used = time.monotonic()

    async def make_room(self, model: Loaded) -> None:
        """End models that nobody asks until there is memory for one that is about to be loaded."""
        for key, place in list(self._places.items()):
            known = await anyio.to_thread.run_sync(self._memory, model.device)
            if known is None or known[0] - model.size >= known[1] * RESERVE:
                return
            if place.model is not model and not place.askers and place.model.device == model.device:
                await self._close([key])

    async def close_idle(self) -> None:
        """End the models that have had no question for a while."""
        before = time.monotonic() - IDLE_SECONDS
        await self._close([key for key, place in self._places.items() if not place.askers and place.used < before])

    async def close(self) -> None:
        """End all models."""
        await self._close(list(self._places))

    async def _close(self, keys: Sequence[Hashable]) -> None:
        # all are out of reach before the first is waited for, so that nobody asks one that is about to end
        for place in [self._places.pop(key) for key in keys if key in self._places]:
            await place.model.close()
