"""The link from a task to its job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

from tuneway._escape import url_segment

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

JOB_ID, JOB_URL, CONN_ID = "job_id", "job_url", "conn_id"


class FineTuningJobLink(BaseOperatorLink):
    """The job's page at its service; for a service without such a page, the report in Airflow's own pages."""

    @property
    def name(self) -> str:
        """The text of the button."""
        return "Fine-tuning job"

    @property
    def xcom_key(self) -> str:
        """The XCom with the address: the web server reads it, and runs no code of the operator."""
        return JOB_URL

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The address that the task has stored."""
        from airflow.sdk.bases.xcom import BaseXCom

        return BaseXCom.get_value(ti_key=ti_key, key=JOB_URL) or ""  # type: ignore[arg-type]  # as Airflow does


def store_job(context: Context, job_id: str, base_url: str, conn_id: str) -> None:
    """Store which job a task is about, as soon as that is known: links and time-outs of deferred tasks need it."""
    ti = context["ti"]
    ti.xcom_push(key=JOB_ID, value=job_id)
    ti.xcom_push(key=JOB_URL, value=job_url(ti, job_id, base_url))
    ti.xcom_push(key=CONN_ID, value=conn_id)


def job_url(ti: Any, job_id: str, base_url: str) -> str:
    """The page on which a person can look at a job."""
    from tuneway.steps import job_page

    return job_page(job_id, base_url) or report_path(ti)


def report_path(ti: Any) -> str:
    """The path of the plugin's report for a task."""
    index = -1 if ti.map_index is None else ti.map_index
    dag, run, task = (url_segment(part) for part in (ti.dag_id, ti.run_id, ti.task_id))
    return f"/tuneway/report/{dag}/{run}/{task}/{index}"
