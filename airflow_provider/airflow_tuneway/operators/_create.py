"""The step that costs money: one job for each task of each run, however often it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_tuneway._literals import is_mapped
from airflow_tuneway.links import FineTuningJobLink, store_job
from airflow_tuneway.operators._early import check_training_early, check_word_early
from airflow_tuneway.operators._ending import EndingOperator
from airflow_tuneway.operators._training import (
    RENDERERS,
    SPEC_FIELDS,
    fields_of,
    with_fields,
)
from tuneway.choices import Reuse

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client, JobSpec, Recipe, Requester
    from tuneway.client import StartedJob


class SubmittingOperator(EndingOperator):
    """A step that asks for a job. For `cancel_on_kill` see `EndingOperator`.

    Args:
        reuse: Which existing jobs will do. "run": those that this task has made in this run, so retries and clears
            adopt them. "content": any that trains the same data in the same way, whoever made it. "never": none;
            each clear makes a new job, and only retries adopt it.
        key: A word of your own. Tasks with equal content, such as mapped ones, share one job unless their keys
            differ.
    """

    template_fields: Sequence[str] = (*EndingOperator.template_fields, "reuse", "key")
    operator_extra_links = (FineTuningJobLink(),)

    def __init__(self, *, reuse: Reuse = "run", key: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_word_early(self, reuse, Reuse, field="reuse")
        self.reuse = reuse
        self.key = key

    def start(self, client: Client, what: Recipe | JobSpec, requester: Requester, **then: Any) -> StartedJob:
        """Do everything before the wait; what is asked for is noted before a job may be created."""
        from tuneway import JobSpec
        from tuneway.client import StartedJob

        asks: dict[str, Any] = {"reuse": self.reuse, "on_event": self.tell}
        report, file = None, None
        if isinstance(what, JobSpec):
            client.check(what, requester, **asks, **then)
            spec = what
        else:
            report, file = client.send(what, requester, **asks, **then)
            spec = what.spec(file, file.validation)
        self._asked = spec
        self.stop_if_over()
        job = client.submit(spec, requester=requester, **asks)
        self._job_id, self._asked = job.id, None
        return StartedJob(job=job, spec=spec, report=report, training_file=file)


class CreateFineTuningJobOperator(SubmittingOperator):
    """Create one job, or adopt the one that exists. The output is the job.

    Args:
        model: The model to start from.
        training_file: The id of an uploaded file, or the output of the step that uploaded it. If that step uploaded
            validation data as well, the job is measured on it.
        validation_file: Likewise, for validation data that was uploaded apart.
        fields: The other fields of `tuneway.JobSpec`: `method`, `suffix`, `seed`, `metadata`, `integrations`,
            `hyperparameters`, `extra_body`.

    All of them are template fields. For the other arguments see `SubmittingOperator`.
    """

    template_fields: Sequence[str] = (*SubmittingOperator.template_fields, *SPEC_FIELDS)
    template_fields_renderers = RENDERERS

    @with_fields(*SPEC_FIELDS, required=("model", "training_file"))
    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        if not is_mapped(self):
            check_training_early(fields_of(self, SPEC_FIELDS))

    def work(self, client: Client, context: Context) -> dict[str, Any]:
        """Submit."""
        from tuneway.steps import asked_training, job_summary

        asked = asked_training(fields_of(self, SPEC_FIELDS))
        requester = self.requester(context["ti"])
        started = self.start(client, asked.what, requester)
        store_job(context, started.job.id, client.base_url, self.conn_id)
        return job_summary(started.job, started.spec, data=asked.facts, by=requester)
