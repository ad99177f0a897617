"""What the steps before and after a wait give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tuneway.models import File, Job, JobSpec

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.registry import ModelVersion


class FilePair(NamedTuple):
    """Uploaded training data, and the validation data that was checked with it."""

    training: File
    validation: File


@dataclass(frozen=True, kw_only=True)
class StartedJob:
    """A job that was made or adopted for a recipe: what `Client.start` gives.

    Args:
        job: The job.
        spec: What was asked for.
        report: What the check of the data found; None if it was uploaded already.
        training_file: The uploaded training data; None if it was uploaded already.
        validation_file: The uploaded validation data, likewise.
    """

    job: Job
    spec: JobSpec
    report: DatasetReport | None = None
    training_file: File | None = None
    validation_file: File | None = None


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
