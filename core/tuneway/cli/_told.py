"""News in two columns: what happened, and to what."""

from __future__ import annotations

from tuneway import progress
from tuneway._words import duration, figure, moment, one_line, size
from tuneway.cli._watch import Watch
from tuneway.models import Job
from tuneway.progress import News

WIDTH = 10
"""Of the first column."""

Line = tuple[str, str]


def line_of(news: News) -> Line | None:
    """What is worth a line that stays, whoever reads; None: it passes."""
    match news:
        case progress.FileUploaded(file=file):
            line = "uploaded", ", ".join(filter(None, [file.id, size(file.bytes) if file.bytes else None]))
        case progress.FileReused(file=file):
            line = "uploaded", f"{file.id} holds this data already: nothing was sent"
        case progress.JobCreated(job=job):
            line = "created", f"{job.id} from {job.model}"
        case progress.JobAdopted(job=job):
            line = "adopted", f"{job.id}, {job.status}, made {moment(job.created_at)}: nothing new is paid"
        case progress.RivalCancelled() | progress.RivalLeft() | progress.KeyNotKept():
            line = "note", one_line(news)
        case progress.Logged(event=event) if event.level in ("warn", "warning", "error"):
            line = "error" if event.level == "error" else "warning", one_line(event.message or "")
        case _:
            return None
    return line


def job_of(news: News) -> str | None:
    """The id of the job that this is about."""
    match news:
        case progress.JobChanged(job=job):
            return job.id
        case progress.Logged(job_id=job_id) | progress.PollFailed(job_id=job_id) | progress.Finished(job_id=job_id):
            return job_id
    return None


def end_of(job: Job, watch: Watch) -> Line:
    """How a job ended, in one line."""
    parts = []
    if job.finished_at and job.created_at:
        parts.append(f"in {duration(job.finished_at - job.created_at)}")
    if watch.train:
        first, last = figure(watch.train[0]), figure(watch.train[-1])
        parts.append(f"{watch.measure} {first} → {last}" if len(watch.train) > 1 else f"{watch.measure} {last}")
    if watch.valid:
        parts.append(f"validation {figure(watch.valid[-1])}")
    if job.trainer:
        parts.append(f"trained by {job.trainer}")
    return job.status, ", ".join(parts)


class Lines:
    """What a log gets that can't be drawn over: a line for every change, a tenth of the steps at a time."""

    def __init__(self) -> None:
        self.watch = Watch()
        self._status: str | None = None
        self._tenth = -1

    def hear(self, news: News) -> Line | None:
        """The line that this piece of news is worth, if any."""
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
