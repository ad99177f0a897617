"""A training as a block: everything that creating its job takes, stored under a name."""

from __future__ import annotations

from typing import Any

from prefect._internal.compatibility.async_dispatch import async_dispatch
from prefect.blocks.abstract import JobBlock, JobRun
from pydantic import Field, model_validator

from prefect_tuneway import _jobs, _wait
from prefect_tuneway._steps import AtService, Here, Step, arun, run
from prefect_tuneway.credentials import DOCUMENTATION, JOB_LOGO, FineTuningCredentials, renamed, resolve
from tuneway.choices import Order, Reuse


class FineTuningJobRun(JobRun[dict[str, Any]]):
    """A job that was created or adopted, and its result.

    Args:
        job: The job, as `create_fine_tuning_job` gives it.
        credentials: The service that it is on.
        timeout: Seconds to wait for it.
        report_to: Where its report is written, if at all.
    """

    def __init__(
        self,
        job: dict[str, Any],
        credentials: FineTuningCredentials | None,
        timeout: float | None,
        report_to: str | None = None,
    ) -> None:
        self.job = job
        self.credentials = credentials
        self.timeout = timeout
        self.report_to = report_to
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
        """The job's result, as the task `wait_for_fine_tuning_job` gives it; raises unless the job has succeeded."""
        return run(self._look()) if self.result is None else self.result

    def _wait(self) -> Step[dict[str, Any]]:
        return _wait.wait(
            self.job,
            credentials=self.credentials,
            timeout=self.timeout,
            cancel_on_timeout=False,
            report_to=self.report_to,
        )

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
    training_data: str | None = Field(
        default=None,
        description="The path or URL of JSONL, Parquet, Arrow or CSV; it is checked and uploaded when the training is "
        "triggered.",
    )
    validation_data: str | float | None = Field(
        default=None, description="Likewise, or the share of the training data that is split off for it: 0.1."
    )
    row: dict[str, str] | None = Field(
        default=None, description='How each row is made of columns: {"user": "{question}", "assistant": "{answer}"}.'
    )
    order: Order | None = Field(
        default=None, description="content: the rows are sorted, so that the same set of rows is the same file."
    )
    training_file: str | None = Field(default=None, description="Instead of the data: the id of an uploaded file.")
    validation_file: str | None = Field(default=None, description="Likewise; measured during training.")
    method: dict[str, Any] | None = Field(
        default=None, description='How to train, as JSON: {"type": "supervised", "n_epochs": 3}.'
    )
    suffix: str | None = Field(default=None, description="A word in the new model's name.")
    seed: int | None = Field(default=None, description="The same seed and data give the same training.")
    metadata: dict[str, str] | None = Field(default=None, description="Up to 13 pairs of your own.")
    integrations: list[dict[str, Any]] | None = Field(
        default=None, description="Up to five, Weights & Biases among them."
    )
    hyperparameters: dict[str, Any] | None = Field(
        default=None, description="The old place for them; the method is the new one."
    )
    extra_body: dict[str, Any] | None = Field(default=None, description="Fields that only your service knows.")
    max_usd: float | None = Field(
        default=None, description="A training that is estimated to cost more is refused before anything is sent."
    )
    data_options: dict[str, Any] | None = Field(
        default=None, description="Further arguments of tuneway.dataset.validate."
    )
    key: str | None = Field(
        default=None, description="A word of your own, for several jobs of the same content in one flow run."
    )
    reuse: Reuse = Field(
        default="run", description="Which existing jobs are adopted: this run's, any of the same content, or none."
    )
    timeout: float | None = Field(default=None, description="Seconds to wait for the job.")
    report_to: str | None = Field(
        default=None, description="Where the report is written: a path, or a URL such as s3://reports/{job_id}.html."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_old_documents(cls, stored: Any) -> Any:
        return renamed(stored, training_path="training_data", validation_path="validation_data")

    async def atrigger(self) -> FineTuningJobRun:
        """`trigger`, to be awaited."""
        return FineTuningJobRun(await arun(self._submit()), self.credentials, self.timeout, self.report_to)

    @async_dispatch(atrigger)
    def trigger(self) -> FineTuningJobRun:  # type: ignore[override]
        """Create one job for this training in this flow run, or adopt the one that exists."""
        return FineTuningJobRun(run(self._submit()), self.credentials, self.timeout, self.report_to)

    def _submit(self) -> Step[dict[str, Any]]:
        from tuneway.report import check_report_place
        from tuneway.steps import asked_training, job_summary

        if self.report_to is not None:
            check_report_place(self.report_to, field="report_to")
        own = {"credentials", "key", "reuse", "timeout", "report_to"}
        asked = asked_training({name: getattr(self, name) for name in FineTuningJob.model_fields if name not in own})
        started, requester = yield from _jobs.start(asked.what, self.credentials, key=self.key, reuse=self.reuse)
        return job_summary(started.job, started.spec, data=started.report, by=requester)
