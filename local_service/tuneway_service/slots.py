"""Which job has which devices."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Slots:
    """The devices of the service, each held by one job at most.

    Args:
        devices: The devices; None if the service doesn't choose any: then each job has what it finds.
    """

    def __init__(self, devices: Sequence[str] | None) -> None:
        self.devices = None if devices is None else tuple(devices)
        self._held: dict[str, tuple[str, ...]] = {}
        # the supervisor's thread changes this, and requests read it
        self._lock = threading.Lock()

    @property
    def held(self) -> dict[str, tuple[str, ...]]:
        """The devices of each job that has some."""
        with self._lock:
            return dict(self._held)

    def free(self) -> list[str]:
        """The devices that no job has."""
        taken = {name for names in self.held.values() for name in names}
        return [name for name in self.devices or () if name not in taken]

    def holder(self, device: str) -> str | None:
        """The job that has a device."""
        return next((job_id for job_id, names in self.held.items() if device in names), None)

    def find(self, count: int) -> tuple[str, ...] | None:
        """So many free devices; None if there aren't as many."""
        free = self.free()
        return tuple(free[:count]) if len(free) >= count else None

    def hold(self, job_id: str, devices: Iterable[str]) -> None:
        """Note that a job has devices."""
        with self._lock:
            self._held[job_id] = tuple(devices)

    def knows(self, job_id: str) -> bool:
        """Whether the devices of a job are recorded here, even if it has none."""
        with self._lock:
            return job_id in self._held

    def release(self, job_id: str) -> None:
        """A job's devices are free again."""
        with self._lock:
            self._held.pop(job_id, None)

    def for_answers(self, in_use: Iterable[str]) -> tuple[str, ...] | None:
        """The device for one more model that answers: a free one first, then the one with the fewest models.

        Args:
            in_use: The device of each model that is loaded already.
        """
        if not self.devices:
            return self.devices
        models, free = Counter(in_use), set(self.free())
        return (min(self.devices, key=lambda name: (name not in free, models[name])),)
