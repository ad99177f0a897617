"""A sensor: waits for a job that others are responsible for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_tuneway._compat import conf
from airflow_tuneway._connection import poll_of
from airflow_tuneway._errors import airflow_errors, refuse
from airflow_tuneway._telling import repeat_end
from airflow_tuneway.hooks import DEFAULT_CONN_ID, FineTuningHook
from airflow_tuneway.links import FineTuningJobLink, store_job

if TYPE_CHECKING:
    from airflow.sdk import Context


class FineTuningJobSensor(BaseSensorOperator):
    """Wait until a job has succeeded, and never cancel it, whatever becomes of the task.

    Args:
        job: The job's id, or the output of a step that has one.
        conn_id: The connection.
        deferrable: Whether to wait without a worker; `[operators] default_deferrable` decides, unless given.
        poll: How often the triggerer looks: fields of `tuneway.Poll`, in place of those of the connection.
        poll_interval: Seconds between two looks of the triggerer; short for `poll={"minimum": s, "maximum": s}`.

    For `poke_interval`, which counts without a triggerer, and `mode`, `timeout` and `soft_fail` see Airflow's sensors.
    """

    template_fields: Sequence[str] = ("job", "conn_id")
    operator_extra_links = (FineTuningJobLink(),)
    ui_color: str = "#e3eefb"

    def __init__(
        self,
        *,
        job: str | Mapping[str, Any],
        conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        poll: Mapping[str, float] | None = None,
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.conn_id = conn_id
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False) if deferrable is None else deferrable
        )
        self.poll = poll_of(poll, poll_interval)

    def execute(self, context: Context) -> Any:
        """Look now; if the job hasn't ended, wait as configured."""
        if not self.deferrable:
            return super().execute(context)
        look = self.poke(context)
        if not look:
            from airflow_tuneway.triggers import FineTuningJobTrigger
            from tuneway.steps import job_id_of

            trigger = FineTuningJobTrigger(
                token={"v": 1, "job_id": job_id_of(self.job)},
                conn_id=self.conn_id,
                poll=self.poll,
                cancel_on_kill=False,
            )
            timeout = timedelta(seconds=self.timeout)
            self.defer(trigger=trigger, method_name="execute_complete", timeout=timeout)
        return look.xcom_value

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        import time

        from tuneway import WaitToken
        from tuneway.errors import WaitTimeout
        from tuneway.steps import job_id_of, job_summary

        with airflow_errors(), FineTuningHook(self.conn_id).new_client() as client:
            job_id = job_id_of(self.job)
            store_job(context, job_id, client.base_url, self.conn_id)
            try:
                # a wait whose deadline has passed: it looks once, and judges the job as every wait does
                job = client.wait(WaitToken(job_id=job_id, deadline=time.time()))
            except WaitTimeout:
                return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=job_summary(job, self.job))

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Go on when the job has ended."""
        from tuneway.models import Job
        from tuneway.steps import job_summary

        job = Job.model_validate(event["job"]) if event["job"] else None
        repeat_end(self.log, event, job)
        if job is None:
            refuse(event["error"])
        return job_summary(job, self.job)
