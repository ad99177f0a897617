"""News as lines of a task's log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway.models import Job
    from tuneway.progress import News, Summarised


def task_log(log: Any) -> Summarised:
    """A listener that writes news into a task's log; of the steps of a training few."""
    from tuneway.progress import Summarised

    return Summarised(partial(log_news, log))


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
