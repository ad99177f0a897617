"""Every piece of news."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tuneway.errors import TunewayError
from tuneway.models import Event, File, Job
from tuneway.progress._base import News

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport


@dataclass(frozen=True, slots=True)
class Retrying(News):
    """A request failed in a way that waiting may cure."""

    error: TunewayError
    seconds: float
    attempt: int

    def __str__(self) -> str:
        return f"attempt {self.attempt} failed, trying again in {self.seconds:.1f} s: {self.error.message}"


@dataclass(frozen=True, slots=True)
class Checking(News):
    """So much of a data file was read and checked."""

    done: int
    total: int
    rows: int

    def __str__(self) -> str:
        return f"checked {self.rows:,} rows, {self.done:,} of {self.total:,} bytes"


@dataclass(frozen=True, slots=True)
class DataChecked(News):
    """Data was read and checked; `report` says what is in it. Data with errors is not sent."""

    report: DatasetReport

    def __str__(self) -> str:
        reports = [one for one in (self.report, self.report.validation) if one is not None]
        return "checked " + "; ".join(f"{one.path}: {one.rows:,} rows, errors: {one.error_count:,}" for one in reports)


@dataclass(frozen=True, slots=True)
class Sent(News):
    """Some more bytes of an upload are on their way."""

    done: int
    total: int

    def __str__(self) -> str:
        return f"sent {self.done:,} of {self.total:,} bytes"


@dataclass(frozen=True, slots=True)
class FileUploaded(News):
    """A file is on the service now."""

    file: File

    def __str__(self) -> str:
        return f"uploaded {self.file.filename} as {self.file.id}"


@dataclass(frozen=True, slots=True)
class FileReused(News):
    """The service already had this file: nothing was sent."""

    file: File

    def __str__(self) -> str:
        return f"{self.file.id} already holds this data: nothing to send"


@dataclass(frozen=True, slots=True)
class JobCreated(News):
    """A new job exists."""

    job: Job

    def __str__(self) -> str:
        return f"created {self.job.id} ({self.job.model})"


@dataclass(frozen=True, slots=True)
class JobAdopted(News):
    """The job that this step wants already exists: nothing was created."""

    job: Job

    def __str__(self) -> str:
        return f"{self.job.id} already does this work ({self.job.status}): adopted, nothing new is paid"


@dataclass(frozen=True, slots=True)
class Settling(News):
    """What a lost request has done may still show: one more look, when the settle window has passed."""

    seconds: float

    def __str__(self) -> str:
        return f"looking once more in {self.seconds:g} s, to be sure that there is one job"


@dataclass(frozen=True, slots=True)
class RivalCancelled(News):
    """Two jobs were created for one intent; the younger was cancelled."""

    job_id: str
    survivor_id: str

    def __str__(self) -> str:
        return f"{self.job_id} was a second job for the same work as {self.survivor_id}: cancelled"


@dataclass(frozen=True, slots=True)
class RivalLeft(News):
    """Two jobs exist for one intent, and the service refuses to cancel the younger."""

    job_id: str
    survivor_id: str
    error: TunewayError

    def __str__(self) -> str:
        return f"{self.job_id} doubles {self.survivor_id} and can't be cancelled: {self.error.message}"


@dataclass(frozen=True, slots=True)
class KeyNotKept(News):
    """The service doesn't show the job by its metadata: a retry can't find it again."""

    job: Job

    def __str__(self) -> str:
        return f"{self.job.id}: this service doesn't list the job by its metadata, so a retry can't adopt it"


@dataclass(frozen=True, slots=True)
class JobChanged(News):
    """A job moved on: another status, or another estimate of its end."""

    job: Job
    before: Job | None

    def __str__(self) -> str:
        if self.job.estimated_finish is None or self.job.done:
            return f"{self.job.id}: {self.job.status}"
        finish = datetime.fromtimestamp(self.job.estimated_finish).astimezone()
        return f"{self.job.id}: {self.job.status}, should end about {finish:%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Logged(News):
    """A line of a job's own log, told once and in order. Metrics are in `event.metrics`.

    `token` resumes the wait after this line, in this process or another.
    """

    job_id: str
    event: Event
    token: str

    def __str__(self) -> str:
        return f"{self.job_id}: {self.event.message}"


@dataclass(frozen=True, slots=True)
class PollFailed(News):
    """A look at the job failed; so many in a row are borne."""

    job_id: str
    error: TunewayError
    failures: int
    tolerance: int

    def __str__(self) -> str:
        return f"{self.job_id}: poll failed ({self.failures} of {self.tolerance} in a row): {self.error.message}"


@dataclass(frozen=True, slots=True)
class Finished(News):
    """A wait is over; `error` says why, unless the job succeeded."""

    job_id: str
    job: Job | None
    error: TunewayError | None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.job_id}: {self.error.message}"
        return f"{self.job_id}: succeeded, {self.job.fine_tuned_model if self.job else 'no model'}"
