"""The six phases of a job, and the table that sorts the statuses of all services into them."""

from __future__ import annotations

import functools
import logging
from enum import StrEnum


class Phase(StrEnum):
    """The phase of a job. Decisions are made on phases, since services use different statuses."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether a job has ended, and stays in this phase."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)

    @property
    def dead(self) -> bool:
        """Whether a job has ended without a model, so that a new attempt may be made."""
        return self in (Phase.FAILED, Phase.CANCELLED)


# One table for all dialects: their statuses don't conflict, and a gateway with OpenAI's paths may return those of
# another service.
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
    """Give the phase for a status. A job with an unknown status counts as running."""
    return PHASES.get(status) or _unknown(status)


@functools.lru_cache(maxsize=256)
def _unknown(status: str) -> Phase:
    """Warn about an unknown status, once for each."""
    logging.getLogger("tuneway").warning("a job has the unknown status %r; it counts as running", status[:80])
    return Phase.RUNNING
