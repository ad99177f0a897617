"""News in two columns: what happened, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tuneway import progress
from tuneway._escape import one_line
from tuneway._words import count, duration, figure, moment, size
from tuneway.cli._watch import Watch
from tuneway.models import Job
from tuneway.progress import News

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport

WIDTH = 10
"""Width of the first column."""

WARNINGS = 3
"""How many warnings about a data file are shown; the rest are counted."""

Line = tuple[str, str]


def line_of(news: News) -> Line | None:
    """The line for news that readers of a log and of a terminal both keep; None for all other news."""
    match news:
        case progress.FileUploaded(file=file):
            line = "uploaded", ", ".join(filter(None, [file.id, size(file.bytes) if file.bytes else None]))
        case progress.FileReused(file=file):
            line = "uploaded", f"{file.id} holds this data already: nothing was sent"
        case progress.JobCreated(job=job):
            line = "created", f"{job.id} from {job.model}"
        case progress.JobAdopted(job=job):
            line = "adopted", f"{job.id}, {job.status}, made {moment(job.created_at)}: nothing new is paid"
        case progress.RivalCancelled() | progress.RivalLeft() | progress.KeyNotKept() | progress.JobRecognised():
            line = "note", one_line(news)
        case progress.Logged(event=event) if event.level in ("warn", "warning", "error"):
            line = "error" if event.level == "error" else "warning", one_line(event.message or "")
        case _:
            return None
    return line


def lines_about(report: DatasetReport) -> Iterator[Line]:
    """What a check found, with the first warnings. Nothing about data with errors: the command ends with those."""
    if not report.ok:
        return
    for one in report.reports:
        yield "checked", summary(one)
        for problem in one.warnings[:WARNINGS]:
            yield "warning", one.placed(problem)
        if one.warning_count > WARNINGS:
            more = count(one.warning_count - WARNINGS, "more warning")
            yield "warning", f"{more}: tuneway validate {one.path}"


def summary(report: DatasetReport) -> str:
    """A data file in a few words."""
    parts = [count(report.rows, "example"), tokens(report), report.format or "format unknown"]
    return f"{report.path}: {', '.join(parts)}"


def tokens(report: DatasetReport) -> str:
    """How many tokens a data file has, and whether that is an estimate."""
    return f"{'' if report.tokens.exact else 'about '}{count(report.tokens.total, 'token')}"


def job_of(news: News) -> str | None:
    """The id of the job that the news are about."""
    match news:
        case progress.JobChanged(job=job):
            return job.id
        case progress.Logged(job_id=job_id) | progress.PollFailed(job_id=job_id) | progress.Finished(job_id=job_id):
            return job_id
    return None


def end_of(job: Job, watch: Watch) -> Line:
    """How a job ended, in one line."""
    parts = []
    if job.seconds is not None:
        parts.append(f"in {duration(job.seconds)}")
    if watch.train:
        first, last = figure(watch.train[0]), figure(watch.train[-1])
        parts.append(f"{watch.measure} {first} → {last}" if len(watch.train) > 1 else f"{watch.measure} {last}")
    if watch.valid:
        parts.append(f"validation {figure(watch.valid[-1])}")
    if job.trainer:
        parts.append(f"trained by {job.trainer}")
    return job.status, ", ".join(parts)


class Lines:
    """The lines of a log: one for every change, and one for each tenth of the steps."""

    def __init__(self) -> None:
        self.watch = Watch()
        self._status: str | None = None
        self._tenth = -1

    def hear(self, news: News) -> Line | None:
        """The line for these news, if they get one."""
        self.watch.hear(news)
        lasting = line_of(news)
        return self._passing(news) if lasting is None else lasting

    def _passing(self, news: News) -> Line | None:
        match news:
            case progress.JobChanged(job=job) if job.status != self._status and not job.done:
                self._status = job.status
                return job.status, f"until about {moment(job.estimated_finish)}" if job.estimated_finish else ""
            case progress.Logged(event=event):
                return self._step() if "step" in event.metrics else ("log", one_line(event.message or ""))
            case progress.Retrying() | progress.PollFailed():
                return "trouble", one_line(news)
        return None

    def _step(self) -> Line | None:
        watch = self.watch
        tenth = int((watch.share or 0.0) * 10)
        if tenth <= self._tenth and watch.total:
            return None
        self._tenth = tenth
        of = f"{watch.step:,.0f}" + (f" of {watch.total:,.0f}" if watch.total else "")
        numbers = [f"{watch.measure} {figure(watch.train[-1])}"] if watch.train else []
        numbers += [f"validation {figure(watch.valid[-1])}"] if watch.valid else []
        return "step", ", ".join([of, *numbers])
