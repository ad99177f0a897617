"""The step that costs money: one job for each task of each run, however often it is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_tuneway._runs import key_of, origin_of
from airflow_tuneway.links import FineTuningJobLink, leave_job
from airflow_tuneway.operators._base import TunewayOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import DPO, Client, Job, JobSpec, Reinforcement, Supervised

    Reuse = Literal["run", "content", "never"]

SPEC_FIELDS = (
    "model",
    "training_file",
    "validation_file",
    "method",
    "suffix",
    "seed",
    "metadata",
    "integrations",
    "hyperparameters",
    "extra_body",
)
RENDERERS = dict.fromkeys(("method", "metadata", "integrations", "hyperparameters", "extra_body"), "json")


class SubmittingOperator(TunewayOperator):
    """A step that asks for a job.

    Args:
        model: The model to start from.
        training_file: The id of an uploaded file.
        validation_file: Likewise; measured during training.
        method: `Supervised(…)`, `DPO(…)`, `Reinforcement(…)`, or the same as JSON.
        suffix: A word in the new model's name.
        seed: The same seed and data give the same training, as far as the service can.
        metadata: Up to 14 pairs of your own.
        integrations: Up to five, Weights & Biases among them.
        hyperparameters: The old place for them; `method` is the new one.
        extra_body: Fields that only your service knows.
        reuse: "run": what this task of this run has made is adopted, by retries and after a clear.
            "content": whatever trains the same data in the same way, whoever made it. "never": a clear
            makes a new job, and only retries adopt.
    """

    template_fields: Sequence[str] = (*TunewayOperator.template_fields, *SPEC_FIELDS)
    template_fields_renderers = RENDERERS
    operator_extra_links = (FineTuningJobLink(),)

    def __init__(
        self,
        *,
        model: str,
        training_file: str | None = None,
        validation_file: str | None = None,
        method: Supervised | DPO | Reinforcement | Mapping[str, Any] | None = None,
        suffix: str | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        integrations: Sequence[Any] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        reuse: Reuse = "run",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.training_file = training_file
        self.validation_file = validation_file
        self.method = as_json(method)
        self.suffix = suffix
        self.seed = seed
        self.metadata = metadata
        self.integrations = integrations
        self.hyperparameters = as_json(hyperparameters)
        self.extra_body = extra_body
        self.reuse = reuse

    def spec(self) -> JobSpec:
        """What to train, from the rendered fields."""
        from tuneway import JobSpec

        given = {name: getattr(self, name) for name in SPEC_FIELDS}
        return JobSpec(**{name: value for name, value in given.items() if value is not None})

    def submit(self, client: Client, context: Context, spec: JobSpec) -> Job:
        """Have the one job for this, and leave word of it."""
        ti = context["ti"]
        job = client.submit(
            spec,
            key=key_of(ti, reuse=self.reuse, retries=self.retries or 0),
            # each clear has a key of its own where nothing is to be reused; a key's own job is adopted
            reuse="content" if self.reuse == "content" else "run",
            origin=origin_of(ti),
            on_event=self.tell,
        )
        leave_job(context, job.id, client.base_url, self.conn_id)
        return job


class CreateFineTuningJobOperator(SubmittingOperator):
    """Have one job for this task of this run: adopt the one that exists, else create it. The output is the job.

    For the arguments see `SubmittingOperator`.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)

    def work(self, client: Client, context: Context) -> dict[str, Any]:
        """Submit."""
        from tuneway.steps import job_summary

        spec = self.spec()
        return job_summary(self.submit(client, context, spec), spec)
