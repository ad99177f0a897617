"""Steps that cancel, pause or resume a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_tuneway.links import store_job
from airflow_tuneway.operators._base import JobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client, Job


def _summary(job: Job, asked: Any) -> dict[str, Any]:
    from tuneway.steps import job_summary

    return job_summary(job, asked)


class CancelFineTuningJobOperator(JobOperator):
    """Cancel a job; it can't be resumed. One that has ended is left as it is; the output is the job."""

    def work(self, client: Client, context: Context) -> dict[str, Any]:
        """Cancel."""
        store_job(context, self.job_id, client.base_url, self.conn_id)
        return _summary(client.cancel(self.job_id), self.job)


class PauseFineTuningJobOperator(JobOperator):
    """Stop a job for now; the output is the job."""

    def work(self, client: Client, context: Context) -> dict[str, Any]:
        """Pause."""
        store_job(context, self.job_id, client.base_url, self.conn_id)
        return _summary(client.pause(self.job_id), self.job)


class ResumeFineTuningJobOperator(JobOperator):
    """Let a paused job go on; the output is the job."""

    def work(self, client: Client, context: Context) -> dict[str, Any]:
        """Resume."""
        store_job(context, self.job_id, client.base_url, self.conn_id)
        return _summary(client.resume(self.job_id), self.job)
