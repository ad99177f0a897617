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


# One table for all services: no status means two things, and a gateway with OpenAI's paths may return those of another
# service. Statuses are compared in lower case and without Google's prefix.
PHASES: dict[str, Phase] = {
    **dict.fromkeys(
        (
            "validating_files", "queued", "pending", "notrunning", "resuming", "queuing", "re_queueing", "created",
            "creating", "creating_input_dataset", "validating", "scheduling", "unspecified",
        ),
        Phase.PENDING,
    ),
    **dict.fromkeys(
        (
            "running", "pausing", "inprogress", "in_progress", "compressing", "uploading", "writing_results",
            "updating", "idle", "cancel_requested", "cancelling", "canceling", "stopping",
        ),
        Phase.RUNNING,
    ),
    "paused": Phase.PAUSED,
    **dict.fromkeys(("succeeded", "completed", "early_stopped", "partially_succeeded"), Phase.SUCCEEDED),
    **dict.fromkeys(("failed", "error", "user_error", "expired"), Phase.FAILED),
    **dict.fromkeys(
        ("cancelled", "canceled", "stopped", "deleting", "deleting_cleaning_up", "deleted"), Phase.CANCELLED
    ),
}  # fmt: skip
"""The phase for each known status, which is written in lower case. You can add a status that your service uses."""

ENDING = frozenset({"cancel_requested", "cancelling", "canceling", "stopping"})
"""The statuses of a job that is being cancelled: it still runs, but can't be adopted any more."""

_PREFIX = "job_state_"


def known_phase(status: str) -> Phase | None:
    """Give the phase for a status; None if the status is unknown."""
    return PHASES.get(status) or PHASES.get(_plain(status))


def is_ending(status: str) -> bool:
    """Whether a job with this status is being cancelled."""
    return _plain(status) in ENDING


def _plain(status: str) -> str:
    return status.lower().removeprefix(_PREFIX)


def phase_of(status: str) -> Phase:
    """Give the phase for a status. A job with an unknown status counts as running."""
    return known_phase(status) or _unknown(status)


@functools.lru_cache(maxsize=256)
def _unknown(status: str) -> Phase:
    """Warn about an unknown status, once for each."""
    logging.getLogger("tuneway").warning("a job has the unknown status %r; it counts as running", status[:80])
    return Phase.RUNNING
