"""What all operators share: a connection, and errors that Airflow understands."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_tuneway._errors import airflow_errors
from airflow_tuneway._measures import Measures
from airflow_tuneway._runs import requester_of
from airflow_tuneway._telling import task_log
from airflow_tuneway.hooks import DEFAULT_CONN_ID, FineTuningHook
from airflow_tuneway.links import FineTuningJobLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client, Requester
    from tuneway.progress import Listener, News


class TunewayOperator(BaseOperator):
    """A step on the service that a connection names.

    Args:
        conn_id: The connection: of type `tuneway`, or of type `openai` as it is.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color: str = "#e3eefb"
    key: str | None = None

    def __init__(self, *, conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self._measures: Measures | None = None

    @cached_property
    def hook(self) -> FineTuningHook:
        """The connection, made when a task first needs it."""
        return FineTuningHook(self.conn_id)

    def requester(self, ti: Any) -> Requester:
        """This task as the one who asks."""
        return requester_of(ti, retries=self.retries or 0, key=self.key)

    def execute(self, context: Context) -> Any:
        """Do the step; Airflow calls this."""
        self._measures = measures = Measures(context["ti"], type(self).__name__)
        try:
            with airflow_errors(), measures.span():
                return self.work(self.hook.client, context)
        finally:
            self.hook.close()

    @abstractmethod
    def work(self, client: Client, context: Context) -> Any:
        """Do the step; the core's errors may be raised as they are."""

    def tell(self, news: News) -> None:
        """Write a piece of news into the task's log, and count it."""
        self._listener(news)
        if self._measures is not None:
            self._measures.hear(news)

    @cached_property
    def _listener(self) -> Listener:
        return task_log(self.log)


class JobOperator(TunewayOperator):
    """A step on one job.

    Args:
        job: The job's id, or the output of a step that has one.
    """

    template_fields: Sequence[str] = (*TunewayOperator.template_fields, "job")
    operator_extra_links = (FineTuningJobLink(),)

    def __init__(self, *, job: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    @property
    def job_id(self) -> str:
        """The job's id, wherever it was."""
        from tuneway.steps import job_id_of

        with airflow_errors():
            return job_id_of(self.job)
