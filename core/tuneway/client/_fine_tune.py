"""The results of the client's steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from tuneway.models import File, Job, JobSpec

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.registry import ModelVersion


class UploadedFile(File):
    """An uploaded file, and what is known of its data: what `Client.upload` gives.

    Attributes:
        rows: The number of rows; None if the data wasn't checked.
        tokens: The number of tokens, likewise.
        validation: The validation data that was uploaded with it, if any.
    """

    rows: int | None = None
    tokens: int | None = None
    validation: UploadedFile | None = None

    @classmethod
    def of(cls, file: File, report: DatasetReport | None) -> Self:
        """The file, with rows and tokens if its data was checked."""
        counted = (report.rows, report.tokens.total) if report is not None else (None, None)
        known = {"rows": counted[0], "tokens": counted[1], "validation": None}
        return cls.model_validate(file.model_dump() | known)


class SentData(NamedTuple):
    """The data of a recipe, checked and on the service: what `Client.send` gives.

    Attributes:
        report: What the check found.
        file: The uploaded training data, with the validation data.
    """

    report: DatasetReport
    file: UploadedFile


@dataclass(frozen=True, kw_only=True)
class StartedJob:
    """A job that was made or adopted for a recipe: what `Client.start` gives.

    Args:
        job: The job.
        spec: What was asked for.
        report: What the check of the data found; None if it was uploaded already.
        training_file: The uploaded training data, with the validation data; None if it was uploaded already.
    """

    job: Job
    spec: JobSpec
    report: DatasetReport | None = None
    training_file: UploadedFile | None = None


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A training that has succeeded: what `Client.fine_tune` gives.

    Args:
        job: The job, as it was when it had ended.
        started: How it began: what was asked for, on which files.
        version: The registered version, if there was a name for it.
    """

    job: Job
    started: StartedJob
    version: ModelVersion | None = None

    @property
    def model(self) -> str | None:
        """The model to ask the service for: the registered checkpoint's, else the job's."""
        return self.version.model_id if self.version else self.job.fine_tuned_model
