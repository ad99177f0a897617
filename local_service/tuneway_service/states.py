"""The life of a job as a table: from each status, the moves and the statuses that they lead to.

A move that isn't in the table is refused. The store applies a move as a conditional update: of two that race for
the same job one is refused, and a terminal status never changes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """The statuses that a job of this service can have."""

    VALIDATING = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Move(StrEnum):
    """What changes a job's status."""

    ADMIT = "admit"  # its files are valid
    START = "start"  # a worker is about to be launched
    YIELD = "yield"  # its worker ended before the training did: it was stopped, lost or killed
    PAUSE = "pause"
    RESUME = "resume"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


TABLE: Final[dict[JobStatus, dict[Move, JobStatus]]] = {
    JobStatus.VALIDATING: {
        Move.ADMIT: JobStatus.QUEUED,
        Move.FAIL: JobStatus.FAILED,
        Move.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.QUEUED: {
        Move.START: JobStatus.RUNNING,
        Move.PAUSE: JobStatus.PAUSED,
        Move.FAIL: JobStatus.FAILED,
        Move.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.RUNNING: {
        Move.YIELD: JobStatus.QUEUED,
        Move.PAUSE: JobStatus.PAUSING,
        Move.SUCCEED: JobStatus.SUCCEEDED,
        Move.FAIL: JobStatus.FAILED,
        Move.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.PAUSING: {
        Move.YIELD: JobStatus.PAUSED,
        Move.SUCCEED: JobStatus.SUCCEEDED,
        Move.FAIL: JobStatus.FAILED,
        Move.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.PAUSED: {
        Move.RESUME: JobStatus.QUEUED,
        Move.FAIL: JobStatus.FAILED,
        Move.CANCEL: JobStatus.CANCELLED,
    },
    JobStatus.SUCCEEDED: {},
    JobStatus.FAILED: {},
    JobStatus.CANCELLED: {},
}

TERMINAL: Final = frozenset(status for status, moves in TABLE.items() if not moves)


class WrongState(Exception):
    """The job's status doesn't allow the move."""

    def __init__(self, job_id: str, status: JobStatus, move: Move) -> None:
        able = sorted(origin for origin, moves in TABLE.items() if move in moves)
        super().__init__(
            f"Job {job_id} has status {status!s}: it can't {move!s} now, only when it is {' or '.join(able)}."
        )
        self.job_id = job_id
        self.status = status
        self.move = move


def after(job_id: str, status: JobStatus, move: Move) -> JobStatus:
    """The status after a move; raises `WrongState` if the table doesn't have it."""
    try:
        return TABLE[status][move]
    except KeyError:
        raise WrongState(job_id, status, move) from None
