"""From a task to its job, with one click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

JOB_ID, JOB_URL, CONN_ID = "job_id", "job_url", "conn_id"


class FineTuningJobLink(BaseOperatorLink):
    """The job's page: the hosted one or the local service's; where there is none, the report that we show."""

    @property
    def name(self) -> str:
        """What the button says."""
        return "Fine-tuning job"

    @property
    def xcom_key(self) -> str:
        """Where the web server finds the address, without running any of our code."""
        return JOB_URL

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The address that the task has left."""
        from airflow.sdk.bases.xcom import BaseXCom

        return BaseXCom.get_value(ti_key=ti_key, key=JOB_URL) or ""  # type: ignore[arg-type]  # as Airflow does


def leave_job(context: Context, job_id: str, base_url: str, conn_id: str) -> None:
    """Note at once which job a task is about: links and kills need it while the task is deferred."""
    ti = context["ti"]
    ti.xcom_push(key=JOB_ID, value=job_id)
    ti.xcom_push(key=JOB_URL, value=job_url(ti, job_id, base_url))
    ti.xcom_push(key=CONN_ID, value=conn_id)


def job_url(ti: Any, job_id: str, base_url: str) -> str:
    """Where a person can look at a job."""
    from tuneway.steps import job_page

    return job_page(job_id, base_url) or report_path(ti)


def report_path(ti: Any) -> str:
    """The page that our plugin shows for a task."""
    index = -1 if ti.map_index is None else ti.map_index
    dag, run, task = (quote(part, safe="") for part in (ti.dag_id, ti.run_id, ti.task_id))
    return f"/tuneway/report/{dag}/{run}/{task}/{index}"
