"""News as lines of a task's log; the steps of a training are summarised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway.models import Event, Job
    from tuneway.progress import News

STEP_SECONDS = 30
"""Minimum seconds of training between two logged steps. Metrics on all validation data are always logged."""


class TaskTeller:
    """Writes news into a task's log: of the steps of a training a line every so many seconds, and the last one.

    The moments are those at which the steps were made, so it doesn't matter how often the job is looked at.
    """

    def __init__(self, log: Any) -> None:
        self.last: str | None = None
        self._log = log
        self._held: News | None = None
        self._told_at: float | None = None

    def tell(self, news: News) -> None:
        """Write one news item. A step is written only after the pause between two steps, or if it is the last one."""
        step = _step_in(news)
        if step is None:
            self._release()
            log_news(self._log, news)
            return
        self.last = str(news)
        at = step.created_at or 0.0
        due = self._told_at is None or at >= self._told_at + STEP_SECONDS
        if not due and not any(name.startswith("full_valid") for name in step.metrics or {}):
            self._held = news
            return
        self._held, self._told_at = None, at
        log_news(self._log, news)

    def _release(self) -> None:
        if self._held is not None:
            log_news(self._log, self._held)
            self._held = None


def log_news(log: Any, news: News) -> None:
    """Write a piece of news into a log; of checked data also the warnings."""
    from tuneway.progress import DataChanged

    write = log.warning if isinstance(news, DataChanged) and news.outcome == "adopted" else log.info
    write("%s", news)
    for warning in getattr(news, "warnings", ()):
        log.warning("%s", warning)


def repeat_end(log: Any, event: Mapping[str, Any], job: Job | None) -> None:
    """Write how a wait ended into the log of the task that goes on: a triggerer's last lines may be lost."""
    from tuneway.progress import Finished

    if event.get("last"):
        log.info("%s", event["last"])
    if job is not None:
        log_news(log, Finished(job.id, job, None))


def _step_in(news: News) -> Event | None:
    from tuneway.progress import Logged

    return news.event if isinstance(news, Logged) and news.event.metrics else None
