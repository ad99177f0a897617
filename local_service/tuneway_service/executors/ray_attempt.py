"""One attempt at a job on a Ray cluster, and what is known about it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneway_service.executors.base import Notice

if TYPE_CHECKING:
    from tuneway_service.folder import JobFolder


@dataclass
class RayAttempt:
    """One attempt at a job on a cluster.

    Args:
        folder: The job's folder.
        number: The attempt's number, as the order has it.
        accepted: The cluster has accepted the submission.
        stop_asked: The worker should save its state and stop.
        stop_forced: The worker should be killed.
        ended: The attempt has ended; nothing more happens to it.
        reason: Why it ended without an outcome.
        due: When to ask the cluster next.
        notices: What the job's events don't have yet.
        marks: The marks of notices so far.
        log_fetched: The worker's output is in the folder's log.
        waiting_since: Since when the cluster has no resources for it.
        trouble_since: Since when the cluster gives no answer.
        trouble_notified: The job's events say so.
        beat: The lease's last change.
        beat_at: When that change was seen.
    """

    folder: JobFolder
    number: int
    accepted: bool = False
    stop_asked: bool = False
    stop_forced: bool = False
    ended: bool = False
    reason: str = "its worker is gone"
    due: float = 0.0
    notices: deque[Notice] = field(default_factory=deque)
    marks: set[str] = field(default_factory=set)
    log_fetched: bool = False
    waiting_since: float | None = None
    trouble_since: float | None = None
    trouble_notified: bool = False
    beat: int | None = None
    beat_at: float = 0.0

    @property
    def id(self) -> str:
        """Its submission id on the cluster."""
        job_id = self.folder.path.name
        return job_id if self.number == 1 else f"{job_id}-{self.number}"

    def notify(self, message: str, *, mark: str | None = None, level: str = "info") -> None:
        """Add a notice for the job's events; with a mark, only once in this attempt."""
        if mark is not None:
            if mark in self.marks:
                return
            self.marks.add(mark)
        self.notices.append(Notice(message, mark and f"ray:{mark}:{self.number}", level))

    def finished(self) -> bool:
        """Whether the attempt has an outcome."""
        return self.folder.finished(self.number)

    def lease(self) -> dict[str, Any] | None:
        """The worker's lease; None if no worker of this attempt has started."""
        lease = self.folder.read("lease")
        return lease if isinstance(lease, dict) and lease.get("attempt") == self.number else None
