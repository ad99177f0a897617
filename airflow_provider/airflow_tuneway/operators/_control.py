"""Steps that stop a job, for good or for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_tuneway.links import store_job
from airflow_tuneway.operators._base import JobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client


class CancelFineTuningJobOperator(JobOperator):
    """Stop a job for good. One that has ended is left as it is; the output is its status."""

    def work(self, client: Client, context: Context) -> str:
        """Cancel."""
        store_job(context, self.job_id, client.base_url, self.conn_id)
        return client.cancel(self.job_id).status


class PauseFineTuningJobOperator(JobOperator):
    """Stop a job for now; the output is its status."""

    def work(self, client: Client, context: Context) -> str:
        """Pause."""
        store_job(context, self.job_id, client.base_url, self.conn_id)
        return client.pause(self.job_id).status


class ResumeFineTuningJobOperator(JobOperator):
    """Let a paused job go on; the output is its status."""

    def work(self, client: Client, context: Context) -> str:
        """Resume."""
        store_job(context, self.job_id, client.base_url, self.conn_id)
        return client.resume(self.job_id).status
