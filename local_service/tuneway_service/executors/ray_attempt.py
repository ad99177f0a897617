"""One attempt at a job on a cluster, and what is known of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuneway_service.executors.base import Notice

if TYPE_CHECKING:
    from tuneway_service.folder import JobFolder


@dataclass
class RayAttempt:
    """One attempt, and what is known of it."""

    folder: JobFolder
    attempt: int
    taken: bool = False
    asked: bool = False
    forced: bool = False
    ended: bool = False
    words: str = "its worker is gone"
    due: float = 0.0
    news: deque[Notice] = field(default_factory=deque)
    told: set[str] = field(default_factory=set)
    logs_brought: bool = False
    waiting_since: float | None = None
    trouble_since: float | None = None
    trouble_told: bool = False
    beat: int | None = None
    beat_at: float = 0.0

    @property
    def id(self) -> str:
        """What it is called on the cluster."""
        job_id = self.folder.path.name
        return job_id if self.attempt == 1 else f"{job_id}-{self.attempt}"

    def tell(self, message: str, *, mark: str | None = None, level: str = "info") -> None:
        """Have something told in the job's events; with a mark, once for this attempt."""
        if mark is not None:
            if mark in self.told:
                return
            self.told.add(mark)
        self.news.append(Notice(message, mark and f"ray:{mark}:{self.attempt}", level))

    def finished(self) -> bool:
        """Whether the worker has said its last."""
        return self.folder.finished(self.attempt)

    def lease(self) -> dict[str, Any] | None:
        """The worker's, if it ever came."""
        lease = self.folder.read("lease")
        return lease if isinstance(lease, dict) and lease.get("attempt") == self.attempt else None
