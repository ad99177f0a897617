"""A training as a block: all that creates a job, stored, and triggered by name."""

from __future__ import annotations

from typing import Any, Literal

from prefect._internal.compatibility.async_dispatch import async_dispatch
from prefect.blocks.abstract import JobBlock, JobRun
from pydantic import Field

from prefect_tuneway import _jobs, _wait
from prefect_tuneway._steps import AtService, Here, Step, arun, run
from prefect_tuneway.credentials import DOCUMENTATION, JOB_LOGO, FineTuningCredentials, resolve


class FineTuningJobRun(JobRun[dict[str, Any]]):
    """A job that was made or adopted, and what came of it.

    Args:
        job: The job in a few words.
        credentials: The service that it is on.
        timeout: Seconds to wait for it.
    """

    def __init__(self, job: dict[str, Any], credentials: FineTuningCredentials | None, timeout: float | None) -> None:
        self.job = job
        self.credentials = credentials
        self.timeout = timeout
        self.result: dict[str, Any] | None = None

    @property
    def job_id(self) -> str:
        """The job's id."""
        return str(self.job["job_id"])

    async def await_for_completion(self) -> None:
        """`wait_for_completion`, to be awaited."""
        self.result = await arun(self._wait())

    @async_dispatch(await_for_completion)
    def wait_for_completion(self) -> None:  # type: ignore[override]  # the two forms that collections have now
        """Wait until the job has succeeded; raises when it ends otherwise."""
        self.result = run(self._wait())

    async def afetch_result(self) -> dict[str, Any]:
        """`fetch_result`, to be awaited."""
        return await arun(self._look()) if self.result is None else self.result

    @async_dispatch(afetch_result)
    def fetch_result(self) -> dict[str, Any]:  # type: ignore[override]
        """What came of the job, as the task `wait_for_fine_tuning_job` gives it; raises unless it has succeeded."""
        return run(self._look()) if self.result is None else self.result

    def _wait(self) -> Step[dict[str, Any]]:
        return _wait.wait_for_fine_tuning_job(self.job, credentials=self.credentials, timeout=self.timeout)

    def _look(self) -> Step[dict[str, Any]]:
        from tuneway.errors import TunewayError, WaitTimeout
        from tuneway.steps import job_summary

        access: FineTuningCredentials = yield Here(lambda: resolve(self.credentials))
        (found,) = yield AtService(
            access.client_settings(), lambda client, _tell: client.look([self.job_id]), lambda _batch: None
        )
        if isinstance(found, TunewayError):
            raise found
        if not found.done:
            raise WaitTimeout(f"{found.id} hasn't ended ({found.status})", job=found, hint="Wait for it first.")
        return job_summary(found, self.job)


class FineTuningJob(JobBlock[dict[str, Any]]):
    """A training: which model on which data, with which settings.

    Example:
        Load a stored training, run it and wait for its model:

        ```python
        from prefect import flow
        from prefect_tuneway import FineTuningJob, cancel_jobs

        @flow(on_cancellation=[cancel_jobs])
        def train():
            training = FineTuningJob.load("BLOCK_NAME")
            run = training.trigger()
            run.wait_for_completion()
            return run.fetch_result()
        ```
    """

    _block_type_name = "Fine-Tuning Job"
    _block_type_slug = "fine-tuning-job"
    _documentation_url = DOCUMENTATION  # type: ignore[assignment]  # as all collections give it
    _logo_url = JOB_LOGO  # type: ignore[assignment]

    credentials: FineTuningCredentials | None = Field(
        default=None, description="The service, else what the environment says."
    )
    model: str = Field(description="The model to start from.")
    training_file: str | None = Field(default=None, description="The id of an uploaded file.")
    training_path: str | None = Field(default=None, description="Or a local file, which is uploaded when needed.")
    validation_file: str | None = Field(default=None, description="The id of an uploaded file to measure on.")
    validation_path: str | None = Field(default=None, description="Or a local file to measure on.")
    method: dict[str, Any] | None = Field(
        default=None, description='How to train, as JSON: {"type": "supervised", "n_epochs": 3}.'
    )
    suffix: str | None = Field(default=None, description="A word in the new model's name.")
    seed: int | None = Field(default=None, description="The same seed and data give the same training.")
    metadata: dict[str, str] | None = Field(default=None, description="Up to 13 pairs of your own.")
    reuse: Literal["run", "content", "never"] = Field(
        default="run", description="Which jobs will do: this run's, anybody's with the same content, or none."
    )
    timeout: float | None = Field(default=None, description="Seconds to wait for the job.")

    async def atrigger(self) -> FineTuningJobRun:
        """`trigger`, to be awaited."""
        return FineTuningJobRun(await arun(self._submit()), self.credentials, self.timeout)

    @async_dispatch(atrigger)
    def trigger(self) -> FineTuningJobRun:  # type: ignore[override]
        """Have the one job for this training in this flow run: adopt the one that exists, else create it."""
        return FineTuningJobRun(run(self._submit()), self.credentials, self.timeout)

    def _submit(self) -> Step[dict[str, Any]]:
        return (
            yield from _jobs.create_fine_tuning_job(
                model=self.model,
                training_file=(yield from self._file(self.training_file, self.training_path)) or "",
                validation_file=(yield from self._file(self.validation_file, self.validation_path)),
                credentials=self.credentials,
                method=self.method,
                suffix=self.suffix,
                seed=self.seed,
                metadata=self.metadata,
                reuse=self.reuse,
            )
        )

    def _file(self, file: str | None, path: str | None) -> Step[Any]:
        from prefect_tuneway._data import upload_training_file

        if file is not None or path is None:
            return file
        return (yield from upload_training_file(path, credentials=self.credentials))
