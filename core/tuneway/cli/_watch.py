"""What has been told of a job so far: where it stands, how its loss went, when it will be done."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuneway import progress
from tuneway._words import one_line
from tuneway.models import Event, Job, Phase

# What a curve is drawn of: losses, or for reinforcement rewards; the first that a service tells.
_TRAIN = ("train_loss", "train_mean_reward")
_VALID = ("full_valid_loss", "valid_loss", "full_valid_mean_reward", "valid_mean_reward")


@dataclass
class Watch:
    """A job under somebody's eyes."""

    job: Job | None = None
    step: float | None = None
    total: float | None = None
    measure: str = "loss"
    train: list[float] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)
    message: str = ""
    trouble: str = ""
    _pace: list[tuple[float, float]] = field(default_factory=list)

    def hear(self, news: progress.News) -> None:
        """Take in what is told."""
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
        for names, values in ((_TRAIN, self.train), (_VALID, self.valid)):
            name = next((name for name in names if name in metrics), None)
            if name is not None:
                values.append(metrics[name])
                self.measure = "reward" if "reward" in name else "loss"
        if event.created_at is not None:
            self._pace.append((event.created_at, self.step))

    @property
    def phase(self) -> Phase | None:
        """Where the job stands."""
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
        """Seconds until the end: the service's own estimate, else the pace of the steps so far."""
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
