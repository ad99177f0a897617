"""All kinds of news."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from tuneway.errors import TunewayError
from tuneway.models import Event, File, Job
from tuneway.progress._base import News

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport


@dataclass(frozen=True, slots=True)
class Retrying(News):
    """A request failed temporarily, and will be sent again."""

    error: TunewayError
    seconds: float
    attempt: int

    def _line(self) -> str:
        return f"attempt {self.attempt} failed, trying again in {self.seconds:.1f} s: {self.error.message}"


@dataclass(frozen=True, slots=True)
class Checking(News):
    """A part of the data was read and checked. `total` is 0 where the size isn't known."""

    done: int
    total: int
    rows: int

    def _line(self) -> str:
        of = f" of {self.total:,}" if self.total else ""
        return f"checked {self.rows:,} rows, {self.done:,}{of} bytes"


@dataclass(frozen=True, slots=True)
class DataChecked(News):
    """Data was read and checked; `report` says what is in it. Data with errors is not sent."""

    report: DatasetReport

    @property
    def warnings(self) -> list[str]:
        """The warnings about the data, each with its file."""
        return [f"{one.path}: {problem}" for one in self.report.reports for problem in one.warnings]

    def _line(self) -> str:
        text = (f"{one.path}: {one.rows:,} rows, errors: {one.error_count:,}" for one in self.report.reports)
        return f"checked {'; '.join(text)}"


@dataclass(frozen=True, slots=True)
class Sent(News):
    """A part of an upload was sent."""

    done: int
    total: int

    def _line(self) -> str:
        return f"sent {self.done:,} of {self.total:,} bytes"


@dataclass(frozen=True, slots=True)
class Answered(News):
    """A model has answered a question of an evaluation."""

    done: int
    total: int

    def _line(self) -> str:
        return f"{self.done:,} of {self.total:,} answers"


@dataclass(frozen=True, slots=True)
class FileUploaded(News):
    """A file was uploaded."""

    file: File

    def _line(self) -> str:
        return f"uploaded {self.file.filename} as {self.file.id}"


@dataclass(frozen=True, slots=True)
class FileReused(News):
    """The service already has a file with this data, so nothing was sent."""

    file: File

    def _line(self) -> str:
        return f"{self.file.id} already has this data: nothing is sent"


@dataclass(frozen=True, slots=True)
class CreatePlanned(News):
    """A create is about to be sent.

    Its `mark` finds the job if this process dies, or the reply is lost: `client.cancel_marked(mark)` cancels it.
    `origin_kept` says whether the job will show who asked for it as well, so that `client.cancel_made_by` finds it
    without the mark.
    """

    mark: str
    origin_kept: bool = True

    def _line(self) -> str:
        return f"creating a job with the mark {self.mark}"


@dataclass(frozen=True, slots=True)
class JobCreated(News):
    """A job was created."""

    job: Job

    def _line(self) -> str:
        return f"created {self.job.id} ({self.job.model})"


@dataclass(frozen=True, slots=True)
class JobAdopted(News):
    """An existing job was adopted, so nothing was created."""

    job: Job

    def _line(self) -> str:
        return f"adopted {self.job.id} ({self.job.status}), which does the same work: no new job is paid"


@dataclass(frozen=True, slots=True)
class DataChanged(News):
    """The data has changed, and the job of an earlier attempt was still running on the old data.

    `outcome` says what became of that job: this attempt goes on with it, it was cancelled, or somebody else has made
    it and it goes on.
    """

    job: Job
    outcome: Literal["adopted", "cancelled", "left"]

    def _line(self) -> str:
        text = {
            "adopted": "this attempt goes on with it, so the model will not know the new data",
            "cancelled": "it was cancelled",
            "left": "it was made elsewhere and goes on",
        }
        return f"the data has changed since {self.job.id} was created: {text[self.outcome]}"


@dataclass(frozen=True, slots=True)
class JobRecognised(News):
    """The service drops the marks of jobs, and this is the job of a create whose reply was lost.

    It is newer than the create, has the same files and settings, and nobody's marks.
    """

    job: Job

    def _line(self) -> str:
        return f"{self.job.id} has no mark, but its files, settings and time are those of the create that was lost"


@dataclass(frozen=True, slots=True)
class Settling(News):
    """The list of jobs is read again after the settle window, since a lost request may still create a job."""

    seconds: float

    def _line(self) -> str:
        return f"listing jobs again in {self.seconds:g} s, to be sure that there is only one"


@dataclass(frozen=True, slots=True)
class RivalCancelled(News):
    """Two jobs were created for one intent, and the newer one was cancelled."""

    job_id: str
    survivor_id: str

    def _line(self) -> str:
        return f"cancelled {self.job_id}, a second job for the same work as {self.survivor_id}"


@dataclass(frozen=True, slots=True)
class RivalLeft(News):
    """Two jobs exist for one intent, and the service refuses to cancel the newer one."""

    job_id: str
    survivor_id: str
    error: TunewayError

    def _line(self) -> str:
        return f"{self.job_id} does the same work as {self.survivor_id}, but can't be cancelled: {self.error.message}"


@dataclass(frozen=True, slots=True)
class KeyNotKept(News):
    """The service doesn't list the job with its mark, so a retry can't find it. `advice` says what to do, if anything.

    A service that drops metadata may keep the suffix of a job. Then the mark goes there.
    """

    job: Job
    advice: str = ""

    def _line(self) -> str:
        text = f"{self.job.id}: this service doesn't list the job with its mark, so a retry can't adopt it"
        return f"{text}. {self.advice}" if self.advice else text


@dataclass(frozen=True, slots=True)
class JobChanged(News):
    """A job has a new status, or an estimate of its finish that has moved by more than a little."""

    job: Job
    before: Job | None

    def _line(self) -> str:
        if self.job.estimated_finish is None or self.job.done:
            return f"{self.job.id}: {self.job.status}"
        finish = datetime.fromtimestamp(self.job.estimated_finish).astimezone()
        return f"{self.job.id}: {self.job.status}, should end about {finish:%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Logged(News):
    """A line of a job's log. Lines come in order, each once. Metrics are in `event.metrics`.

    `token` is the resume token to go on with the wait after this line, in any process.
    """

    job_id: str
    event: Event
    token: str

    def _line(self) -> str:
        return f"{self.job_id}: {self.event.message}"


@dataclass(frozen=True, slots=True)
class PollFailed(News):
    """A poll of the job failed. The wait ends after `tolerance` failures in a row."""

    job_id: str
    error: TunewayError
    failures: int
    tolerance: int

    def _line(self) -> str:
        return f"{self.job_id}: poll failed ({self.failures} of {self.tolerance} in a row): {self.error.message}"


@dataclass(frozen=True, slots=True)
class Finished(News):
    """A wait has ended. `error` says why, unless the job has succeeded."""

    job_id: str
    job: Job | None
    error: TunewayError | None

    def _line(self) -> str:
        if self.error is not None:
            return f"{self.job_id}: {self.error.message}"
        return f"{self.job_id}: succeeded, {self.job.fine_tuned_model if self.job else 'no model'}"
