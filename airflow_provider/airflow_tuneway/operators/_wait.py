"""Waiting for a job: without a worker where a triggerer runs, else in the task itself."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow_tuneway._compat import (
    AirflowException,
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferralTimeout,
    conf,
)
from airflow_tuneway._connection import poll_of
from airflow_tuneway._errors import airflow_errors, refuse
from airflow_tuneway._literals import is_mapped
from airflow_tuneway._measures import Measures
from airflow_tuneway._places import located
from airflow_tuneway._runs import as_arguments, run_of
from airflow_tuneway._telling import repeat_end
from airflow_tuneway.hooks import FineTuningHook
from airflow_tuneway.links import JOB_ID, store_job
from airflow_tuneway.operators._base import JobOperator
from airflow_tuneway.operators._early import check_report_early, check_wait_early
from airflow_tuneway.operators._ending import EndingOperator
from airflow_tuneway.operators._inputs import hidden, revealed
from tuneway._escape import one_line

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client, Job, Requester
    from tuneway.report import Place

GRACE = timedelta(minutes=5)
"""How much later than our own deadline Airflow ends a deferral, in case no triggerer does."""

LEAST_SECONDS = 0.001

WAITING_FIELDS = ("timeout", "poll", "report_to")
"""The arguments that are template fields."""


class WaitingOperator(EndingOperator):
    """A step that waits for a job. For `cancel_on_kill` see `EndingOperator`.

    Args:
        deferrable: Whether to wait without a worker; `[operators] default_deferrable` decides, unless given.
        timeout: Seconds (or a timedelta) to wait, for each try; `execution_timeout` counts as well,
            which Airflow itself ignores while a task is deferred. A restart of a triggerer doesn't lengthen it.
        cancel_on_timeout: Whether the job is cancelled when the time is up. If so, the task fails for
            good, since a retry would pay for another job. If not, the job goes on, and a retry waits on. As with
            `cancel_on_kill`, a job that was made elsewhere goes on.
        poll: How often to look: fields of `tuneway.Poll`, in place of those of the connection.
        poll_interval: Seconds between two looks; short for `poll={"minimum": s, "maximum": s}`. A job that says when
            it will be done is looked at less often until then.
        report_to: Where the report of the training is written, if at all: a path, a URL of an object store such as
            `s3://reports/{job_id}.html`, or an `ObjectStoragePath`. In a text, `{job_id}` is the job's id. A URL is
            opened by `aws_default` or `google_cloud_default` if they are there, or by the connection that it names:
            `s3://conn_id@reports/{job_id}.html`. A report that can't be written is told in the log, and fails
            nothing.
    """

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        timeout: float | timedelta | None = None,
        cancel_on_timeout: bool = False,
        poll: Mapping[str, float] | None = None,
        poll_interval: float | None = None,
        report_to: Place | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False) if deferrable is None else deferrable
        )
        self.timeout: float | None = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self.cancel_on_timeout = cancel_on_timeout
        self.poll = poll_of(poll, poll_interval)
        if not is_mapped(self):
            check_wait_early(self.timeout, self.poll)
            check_report_early(report_to)
        self.report_to = report_to

    def __setattr__(self, name: str, value: Any) -> None:
        # a URL may have a secret, which Airflow is not to store
        super().__setattr__(name, hidden(value) if name == "report_to" else value)

    def await_job(self, client: Client, context: Context, job_id: str) -> Any:
        """Wait: in the triggerer, or here."""
        from tuneway import WaitToken
        from tuneway.steps import made_in

        ti = context["ti"]
        self._job_id = job_id
        store_job(context, job_id, client.base_url, self.conn_id)
        budget = self.check_wait()
        token = WaitToken(job_id=job_id, deadline=None if budget is None else time.time() + budget)
        if self.deferrable and not _has_ended(client, job_id):
            from airflow_tuneway.triggers import TOLD, FineTuningJobTrigger

            ti.xcom_push(key=TOLD, value=token.dump())  # no line of the job's log is copied so far
            self.defer(
                trigger=FineTuningJobTrigger(
                    token=token.model_dump(exclude_none=True),
                    conn_id=self.conn_id,
                    poll=self.poll,
                    cancel_on_kill=self.cancel_on_kill,
                    maker=as_arguments(self.maker(ti)),
                    made=made_in(self.created(ti)),
                ),
                method_name="execute_complete",
                timeout=None if budget is None else timedelta(seconds=budget) + GRACE,
            )
        return self._wait_here(client, context, token)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Go on when the job has ended."""
        from tuneway.models import Job

        job = Job.model_validate(event["job"]) if event["job"] else None
        repeat_end(self.log, event, job)
        measures = Measures(context["ti"], type(self).__name__)
        error = event["error"]
        measures.ended(job, error["kind"] if error is not None else None)
        if error is not None:
            timed_out = error["kind"] == "WaitTimeout"
            refuse(error, final=timed_out and self._time_is_up(context["ti"], event["job_id"]))
        try:
            with airflow_errors(), measures.span():
                return self._finish(self.hook.client, context, cast("Job", job))
        finally:
            self.hook.close()

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on, also after a deferral that Airflow ended itself because nobody else did."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as error:
            ti = context["ti"]
            job_id = ti.xcom_pull(task_ids=self.task_id, key=JOB_ID, map_indexes=ti.map_index)
            if job_id and self._time_is_up(ti, job_id):
                raise AirflowFailException(f"{one_line(job_id)} didn't end in time, and was cancelled") from error
            raise

    @abstractmethod
    def done(self, context: Context, job: Job) -> Any:
        """Make the step's output of a succeeded job."""

    def _wait_here(self, client: Client, context: Context, token: Any) -> Any:
        from tuneway.errors import WaitTimeout

        ti = context["ti"]
        try:
            job = client.wait(token, on_event=self.tell)
        except (WaitTimeout, AirflowTaskTimeout) as error:
            if self._time_is_up(ti, token.job_id):
                raise AirflowFailException(f"{one_line(token.job_id)} didn't end in time, and was cancelled") from error
            raise
        return self._finish(client, context, job)

    def _finish(self, client: Client, context: Context, job: Job) -> Any:
        """Write the report, if one is wanted, and make the step's output."""
        if self.report_to is not None:
            from tuneway.report import report_place, write_report_of

            [place] = located([report_place(revealed(self.report_to), job.id)], None)
            write_report_of(client.outcome(job, log=True, forgiving=True), place, self.log)
        return self.done(context, job)

    def _time_is_up(self, ti: Any, job_id: str) -> bool:
        """Do with the job as configured; gives whether it was cancelled, and hasn't succeeded just now."""
        if not self.cancel_on_timeout:
            return False
        from tuneway.errors import TunewayError
        from tuneway.models import Phase

        try:
            with self.hook.new_client() as client:  # the other may have been interrupted in the middle of anything
                job = self._cancel(client, ti, job_id, why="The time is up")
        except TunewayError as error:
            raise AirflowException(f"{one_line(job_id)} didn't end in time, and can't be cancelled: {error}") from error
        return job is not None and job.phase is not Phase.SUCCEEDED

    def check_wait(self) -> float | None:
        """Check how the job is waited for; gives the seconds to wait."""
        if self.report_to is not None:
            from tuneway.report import check_report_place

            check_report_place(revealed(self.report_to), field="report_to")
        given = [_seconds(self.timeout)] if self.timeout is not None else []
        if self.execution_timeout is not None:
            given.append(self.execution_timeout.total_seconds())
        return max(min(given), LEAST_SECONDS) if given else None

    @cached_property
    def hook(self) -> FineTuningHook:
        """The connection, with this step's own pace."""
        return FineTuningHook(self.conn_id, poll=self.poll)


class WaitForFineTuningJobOperator(WaitingOperator, JobOperator):
    """Wait until a job has succeeded. The output says what came of it: the model's name, trained tokens.

    For the other arguments see `WaitingOperator`.

    Args:
        job: The output of the step that created it, or its id.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, *WAITING_FIELDS)

    def work(self, client: Client, context: Context) -> Any:
        """Wait."""
        return self.await_job(client, context, self.job_id)

    def maker(self, ti: Any) -> Requester:
        """The requester whose jobs this step may cancel: any task of the run."""
        return run_of(ti)

    def created(self, ti: Any) -> object:  # noqa: ARG002
        """The output of the step that created the job, if it was given that."""
        return self.job

    def done(self, context: Context, job: Job) -> dict[str, Any]:  # noqa: ARG002
        """What came of it."""
        from tuneway.steps import job_summary

        return job_summary(job, self.job)


def _has_ended(client: Client, job_id: str) -> bool:
    """Whether there is nothing to wait for: an adopted job often has ended, and a deferral takes seconds."""
    from tuneway.errors import TunewayError

    try:
        return client.jobs.retrieve(job_id).done
    except TunewayError:
        return False  # the wait tolerates several failed looks


def _seconds(timeout: Any) -> float:
    """A time-out as a number; a template may have rendered to any text."""
    from tuneway.flows import deadline_after

    with suppress(ValueError):
        timeout = float(timeout)
    deadline_after(timeout, 0.0)  # refuses what isn't one
    seconds: float = timeout
    return seconds
