"""All steps in one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_tuneway.operators._create import SubmittingOperator
from airflow_tuneway.operators._models import PUBLISHING_FIELDS, PublishingOperator
from airflow_tuneway.operators._wait import WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client, Job


REQUESTED = "requested"
"""The XCom that keeps over a deferral what was asked of the training: a function that says it isn't called twice."""


class FineTuneOperator(WaitingOperator, SubmittingOperator, PublishingOperator):
    """Upload, create, wait and register in one task. The output is the version, or the job without a `name`.

    Every step of it can be repeated: a retry finds the file, adopts the job, and registers it once.

    Args:
        path: The training data; left out, `training_file` is a file that is on the service already.
        validation_path: The data to measure on, likewise.

    For the other arguments see `SubmittingOperator`, `WaitingOperator` and `PublishingOperator`.
    """

    template_fields: Sequence[str] = (
        *SubmittingOperator.template_fields,
        *PUBLISHING_FIELDS,
        *("path", "validation_path", "timeout"),
    )

    def __init__(self, *, path: str | None = None, validation_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.validation_path = validation_path

    def work(self, client: Client, context: Context) -> Any:
        """Upload and submit, then wait."""
        if self.path is not None:
            self.training_file = client.upload(self.path, on_event=self.tell).id
        if self.validation_path is not None:
            self.validation_file = client.upload(self.validation_path, on_event=self.tell).id
        spec = self.spec()
        job = self.submit(client, context, spec)
        context["ti"].xcom_push(key=REQUESTED, value=spec.requested)
        return self.await_job(client, context, job.id)

    def done(self, context: Context, job: Job) -> dict[str, Any]:
        """Register."""
        from tuneway.steps import job_summary

        ti = context["ti"]
        requested = ti.xcom_pull(task_ids=self.task_id, key=REQUESTED, map_indexes=ti.map_index) or {}
        if self.name is None:
            return job_summary(job, {"requested": requested})
        return self.publish(self.hook.client, context, job, requested)
