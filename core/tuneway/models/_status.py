"""The statuses a job can have, sorted into the six phases that decisions are made on."""

from __future__ import annotations

import functools
import logging
from enum import StrEnum


class Phase(StrEnum):
    """Where a job stands, whatever word its service uses for it."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether a job can leave this phase: terminal is absorbing."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)

    @property
    def dead(self) -> bool:
        """Ended without a model: a new attempt may be made."""
        return self in (Phase.FAILED, Phase.CANCELLED)


# One table for every dialect: the words don't collide, and a gateway may hand on
# another service's words behind OpenAI's paths.
PHASES: dict[str, Phase] = {
    "validating_files": Phase.PENDING,
    "queued": Phase.PENDING,
    "running": Phase.RUNNING,
    "pausing": Phase.RUNNING,
    "paused": Phase.PAUSED,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    # Azure
    "pending": Phase.PENDING,
    "notRunning": Phase.PENDING,
    "resuming": Phase.PENDING,
    "canceled": Phase.CANCELLED,
}


def phase_of(status: str) -> Phase:
    """Sort a status; a word that nobody knows yet is taken for a running job."""
    return PHASES.get(status) or _unknown(status)


@functools.lru_cache(maxsize=256)
def _unknown(status: str) -> Phase:
    """Log it, once."""
    logging.getLogger("tuneway").warning("a job has status %r, unknown here: taken for a running one", status[:80])
    return Phase.RUNNING
