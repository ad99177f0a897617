"""Several jobs, shown at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tuneway._escape import one_line
from tuneway._words import count, duration, figure
from tuneway.cli._wording import Line, Lines, end_of, job_of, line_of
from tuneway.progress import Finished, News

if TYPE_CHECKING:
    from tuneway.cli._live import Show
    from tuneway.cli._watch import Watch


class Fleet:
    """Several jobs: each line of the log names its job, and the screen has a line for each job that hasn't ended."""

    def __init__(self, job_ids: Sequence[str], show: Show, *, live: bool) -> None:
        self.ended: dict[str, Finished] = {}
        self._lines = {job_id: Lines() for job_id in job_ids}
        self._show = show
        self._live = live

    @property
    def open(self) -> list[str]:
        """The jobs that haven't ended."""
        return [job_id for job_id in self._lines if job_id not in self.ended]

    def hear(self, news: News) -> None:
        """Take in news, and show them."""
        job_id = job_of(news)
        if job_id is None:
            return
        lines = self._lines[job_id]
        line = lines.hear(news)  # also if the line isn't shown: the screen is drawn from what is heard
        if isinstance(news, Finished):
            self.ended[job_id] = news
            line = _end_line(news, lines.watch)
        elif self._live:
            line = line_of(news)
        if line is not None:
            self._show.done(line[0], f"{job_id} {line[1]}".rstrip())
        self._show.begin("waiting", "\n".join(self._state()))

    def _state(self) -> Iterator[str]:
        yield f"{len(self.ended)} of {count(len(self._lines), 'job')} ended"
        now = time.time()
        for job_id in self.open:
            watch = self._lines[job_id].watch
            share, remaining = watch.share, watch.remaining(now)
            parts = [one_line(watch.job.status, 40) if watch.job else None, None if share is None else f"{share:.0%}"]
            parts += [f"{watch.measure} {figure(watch.train[-1])}"] if watch.train else []
            parts += [f"about {duration(remaining)} left"] if remaining else []
            yield f"{one_line(job_id)}  {', '.join(filter(None, parts))}".rstrip()


def _end_line(news: Finished, watch: Watch) -> Line | None:
    """How one of the jobs ended. Errors are printed when all have ended."""
    if news.error is None and news.job is not None:
        return end_of(news.job, watch)
    return (news.job.status, "") if news.job is not None and news.job.done else None
