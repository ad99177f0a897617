"""What steps report to Airflow's metrics and traces.

Metrics go to StatsD or OpenTelemetry, wherever `[metrics]` of Airflow's configuration sends them. A step is a span
below that of its task where `[traces]` is on; what the step reports is an event of the span.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_tuneway._compat import Stats, trace

if TYPE_CHECKING:
    from tuneway.models import Job
    from tuneway.progress import News

TRACER = "airflow_tuneway"
ENDS = {None: "succeeded", "JobFailed": "failed", "JobCancelled": "cancelled", "UnknownStatus": "unknown"}
"""The status of a job by the error with which a wait for it ends. Other errors end the wait and not the job."""


class Measures:
    """The metrics and the span of one try of a task.

    Args:
        ti: The task instance.
        step: The name of the operator.
    """

    def __init__(self, ti: Any, step: str) -> None:
        self._tags = {name: str(getattr(ti, name, "")) for name in ("dag_id", "task_id")}
        self._step = step

    @contextmanager
    def span(self) -> Iterator[None]:
        """A span around the step."""
        if trace is None:
            yield
            return
        attributes = {f"airflow.{name}": value for name, value in self._tags.items()}
        with trace.get_tracer(TRACER).start_as_current_span(f"tuneway.{self._step}", attributes=attributes):
            yield

    def hear(self, news: News) -> None:
        """Count what the news report, and note it on the span."""
        from tuneway.progress import FileReused, FileUploaded, Finished, JobAdopted, JobCreated

        match news:
            case JobCreated(job=job):
                self._count("tuneway.job.created")
                self._note("created", job_id=job.id)
            case JobAdopted(job=job):
                self._count("tuneway.job.adopted")
                self._note("adopted", job_id=job.id)
            case FileUploaded(file=file):
                self._count("tuneway.file.uploaded_bytes", file.bytes or 0)
                self._note("uploaded", file_id=file.id)
            case FileReused(file=file):
                self._note("reused", file_id=file.id)
            case Finished(job=job, error=error):
                self.ended(job or getattr(error, "job", None), type(error).__name__ if error else None)

    def ended(self, job: Job | None, error: str | None = None) -> None:
        """A wait has ended: count how, and how long the job took and how much it learned.

        Args:
            job: The job, if it is known.
            error: The name of the error with which the wait ended.
        """
        status = ENDS.get(error)
        if status is None:
            return
        self._count("tuneway.job.ended", status=status)
        self._note("ended", status=status)
        if job is not None and job.seconds is not None:
            Stats.timing("tuneway.job.duration", job.seconds * 1000, tags={**self._tags, "status": status})
        if job is not None and job.trained_tokens:
            self._count("tuneway.job.trained_tokens", job.trained_tokens)

    def cancelled(self, job: Job) -> None:
        """A job was cancelled."""
        self._count("tuneway.job.cancelled")
        self._note("cancelled", job_id=job.id)

    def _count(self, name: str, count: int = 1, **tags: str) -> None:
        Stats.incr(name, count, tags={**self._tags, **tags})

    def _note(self, name: str, **attributes: str) -> None:
        if trace is not None:
            trace.get_current_span().add_event(f"tuneway.{name}", attributes)
