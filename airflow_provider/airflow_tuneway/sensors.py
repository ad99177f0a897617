"""A sensor: waits for a job that others are responsible for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_tuneway._compat import AirflowFailException, AirflowSensorTimeout, AirflowSkipException, conf
from airflow_tuneway._connection import poll_of
from airflow_tuneway._errors import airflow_errors, refuse
from airflow_tuneway._literals import is_mapped
from airflow_tuneway._telling import repeat_end
from airflow_tuneway.hooks import DEFAULT_CONN_ID, FineTuningHook
from airflow_tuneway.links import FineTuningJobLink, store_job
from airflow_tuneway.operators._early import check_wait_early
from airflow_tuneway.operators._wait import GRACE

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
    With a triggerer they mean the same: a job that failed, or a time-out, fails the task without a retry, and skips it
    with `soft_fail`. A service that can't be reached isn't a failed job: the task is retried.
    """

    template_fields: Sequence[str] = ("job", "conn_id", "poll")
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
        if not is_mapped(self):
            check_wait_early(None, self.poll)

    def execute(self, context: Context) -> Any:
        """Look now; if the job hasn't ended, wait as configured."""
        if not self.deferrable:
            return super().execute(context)
        look = self._first_look(context)
        if not look:
            self._wait(time.time() + self.timeout)
        return look.xcom_value

    def _first_look(self, context: Context) -> PokeReturnValue:
        """Poll once, and handle errors as Airflow's sensors do."""
        try:
            return self.poke(context)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        except Exception as error:  # noqa: BLE001 - Airflow's own sensors take any
            self._pass_over(error)
            return PokeReturnValue(is_done=False)

    def _pass_over(self, error: Exception) -> None:
        """Handle an error that says nothing about the job: log it, skip the task, or raise it, as the sensor is set."""
        if self.silent_fail:
            self.log.error("The job can't be looked at: %s", error)
        elif self.never_fail:
            raise AirflowSkipException(str(error)) from error
        else:
            raise error

    def _wait(self, deadline: float) -> NoReturn:
        """Wait in the triggerer until the job has ended, or this moment has come."""
        from airflow_tuneway.triggers import FineTuningJobTrigger
        from tuneway import WaitToken
        from tuneway.steps import job_id_of

        token = WaitToken(job_id=job_id_of(self.job), deadline=deadline)
        self.defer(
            trigger=FineTuningJobTrigger(
                token=token.model_dump(exclude_none=True), conn_id=self.conn_id, poll=self.poll, cancel_on_kill=False
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline},
            timeout=timedelta(seconds=max(deadline - time.time(), 0)) + GRACE,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
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

    def execute_complete(
        self,
        context: Context,  # noqa: ARG002
        event: Mapping[str, Any],
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """Go on when the job has ended, or the time is up."""
        from tuneway.models import Job
        from tuneway.steps import job_summary

        job = Job.model_validate(event["job"]) if event["job"] else None
        repeat_end(self.log, event, job)
        if job is None:
            self._go_on(event["error"], time.time() + self.timeout if deadline is None else deadline)
        return job_summary(job, self.job)

    def _go_on(self, error: Mapping[str, Any], deadline: float) -> NoReturn:
        """Raise the error of a wait as Airflow's sensors do, or wait on."""
        from tuneway.errors import TunewayError

        if error["kind"] == "WaitTimeout":
            raise AirflowSensorTimeout(error["message"])
        if not error["retryable"]:
            refuse(error)
        self._pass_over(TunewayError(error["message"]))
        if time.time() >= deadline:
            raise AirflowSensorTimeout(error["message"])
        self._wait(deadline)
