"""What is known of a job from the news so far: its status, its step, its curve, its remaining time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tuneway import progress
from tuneway._escape import one_line
from tuneway.models import METRICS, Event, Job, Measure, MetricInfo, Phase, Role


def shown_metrics(*roles: Role) -> Iterator[MetricInfo]:
    """The losses and rewards of these roles, in this order: the first that a service measures is shown."""
    for role in roles:
        yield from (one for one in METRICS.values() if one.role is role and one.measure in _SHOWN)


_SHOWN = (Measure.LOSS, Measure.REWARD)
_TRAIN = tuple(shown_metrics(Role.TRAIN))
_VALID = tuple(shown_metrics(Role.FULL_VALID, Role.VALID))


@dataclass
class Watch:
    """One job, as the news report it."""

    job: Job | None = None
    step: float | None = None
    total: float | None = None
    measure: Measure = Measure.LOSS
    train: list[float] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)
    message: str = ""
    trouble: str = ""
    _pace: list[tuple[float, float]] = field(default_factory=list)

    def hear(self, news: progress.News) -> None:
        """Take in news."""
        match news:
            case progress.JobCreated(job=job) | progress.JobAdopted(job=job) | progress.JobChanged(job=job):
                self.job, self.trouble = job, ""
            case progress.Finished(job=job) if job is not None:
                self.job, self.trouble = job, ""
            case progress.Logged(event=event):
                self.trouble = ""
                self._log(event)
            case progress.Retrying() | progress.PollFailed():
                self.trouble = one_line(news)

    def _log(self, event: Event) -> None:
        metrics = event.metrics
        if "step" not in metrics:
            self.message = one_line(event.message or "", 200)
            return
        self.step, self.total = metrics["step"], metrics.get("total_steps", self.total)
        for shown, values in ((_TRAIN, self.train), (_VALID, self.valid)):
            metric = next((one for one in shown if one.name in metrics), None)
            if metric is not None:
                values.append(metrics[metric.name])
                self.measure = metric.measure or self.measure
        if event.created_at is not None:
            self._pace.append((event.created_at, self.step))

    @property
    def phase(self) -> Phase | None:
        """The phase that the job's status belongs to."""
        return self.job.phase if self.job is not None else None

    @property
    def share(self) -> float | None:
        """How much of the training is done, from 0 to 1."""
        if self.step is None or not self.total:
            return None
        return min(max(self.step / self.total, 0.0), 1.0)

    def elapsed(self, now: float) -> float | None:
        """Seconds since the job was created."""
        if self.job is None or self.job.created_at is None:
            return None
        return max((self.job.finished_at or now) - self.job.created_at, 0.0)

    def remaining(self, now: float) -> float | None:
        """Seconds until the end: by the service's own estimate, else by the pace of the steps so far."""
        if self.job is None or self.job.done:
            return None
        if self.job.estimated_finish is not None:
            return max(self.job.estimated_finish - now, 0.0)
        if self.total is None or self.step is None or len(self._pace) < 2:
            return None
        (began, first), (heard, last) = self._pace[0], self._pace[-1]
        if last <= first or heard <= began:
            return None
        return max((self.total - last) * (heard - began) / (last - first) - (now - heard), 0.0)
