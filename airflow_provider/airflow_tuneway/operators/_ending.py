"""What becomes of a task's job when the task is told to stop while it works."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_tuneway._compat import AirflowFailException
from airflow_tuneway._measures import Measures
from airflow_tuneway._runs import is_over, is_own
from airflow_tuneway.operators._base import TunewayOperator
from tuneway._escape import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from tuneway import Client, Job, JobSpec, Requester
    from tuneway.progress import News

DECISION_SECONDS = 1.0
"""How long a signal handler waits to hear whether the task is over; Airflow ends the process after five seconds."""


class Ending:
    """Finds out whether a task that was told to stop is over, and then cancels its job.

    Airflow reports it in a signal handler, which may have interrupted the task in the middle of anything, also of a
    question to Airflow, whose channel takes one at a time. So a thread asks, and does the rest.
    """

    def __init__(self, ti: Any, cancel: Callable[[], None], log: Any) -> None:
        self._ti = ti
        self._cancel = cancel
        self.log = log
        self._thread: threading.Thread | None = None
        self._decided = threading.Event()
        self._over = False
        self._raised = False

    def begin(self) -> None:
        """Begin to end the task; called in a signal handler."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tuneway-ending", daemon=True)
            self._thread.start()
        self._decided.wait(DECISION_SECONDS)
        self.stop_if_over()

    def stop_if_over(self) -> None:
        """Stop what the task is doing, once, if the task is over."""
        if self._over and not self._raised:
            self._raised = True
            raise AirflowFailException("The task was ended")

    def finish(self) -> None:
        """Wait until the job is cancelled, if it is to be."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._over = is_over(self._ti)
            self._decided.set()
            if self._over:
                self._cancel()
        except Exception:
            self.log.exception("The task was told to stop: whether its job still runs is unknown")
        finally:
            self._decided.set()


class EndingOperator(TunewayOperator):
    """A step with a job that ends with the task.

    A job is cancelled only if this task, or with a step that only waits any task of this run, has made it: a job that
    was adopted from another run, or that somebody else made, goes on. `CancelFineTuningJobOperator` cancels any job.

    Args:
        cancel_on_kill: Whether the job is cancelled when a person ends the task, marks it as success included. It goes
            on when a worker or a triggerer goes away, or when the task is cleared: the next try adopts it.
    """

    def __init__(self, *, cancel_on_kill: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cancel_on_kill = cancel_on_kill
        self._ending: Ending | None = None
        self._asked: JobSpec | None = None
        self._job_id: str | None = None
        self._marks: set[str] = set()
        self._known: dict[str, Any] | None = None

    def execute(self, context: Context) -> Any:
        """Do the step; if a person ends it, cancel the job before the process ends."""
        ti = context["ti"]
        self._ending = ending = Ending(ti, lambda: self._cancel_own(ti, why="The task was ended"), self.log)
        self._asked = self._job_id = None
        self._known, self._marks = None, set()
        try:
            return super().execute(context)
        finally:
            self._ending = None
            ending.finish()

    def on_kill(self) -> None:
        """Cancel the job if a person ended the task; if only the worker goes away, the next try adopts it."""
        if self.cancel_on_kill and self._ending is not None:
            self._ending.begin()

    def tell(self, news: News) -> None:
        """Write a piece of news into the task's log; note a create before it is sent, and the job once it is there."""
        from tuneway.progress import CreatePlanned, JobCreated

        if isinstance(news, JobCreated):
            self._job_id = news.job.id
        elif isinstance(news, CreatePlanned):
            self._marks.add(news.mark)
        self.stop_if_over()
        super().tell(news)

    def maker(self, ti: Any) -> Requester:
        """The requester whose jobs this step may cancel: the task itself, which knows which job it has made."""
        return self.requester(ti)

    def created(self, ti: Any) -> object:  # noqa: ARG002
        """The output of the step that created the job, if it is known: it has what the job itself may not show."""
        return None

    def stop_if_over(self) -> None:
        """Stop here if a person has ended the task."""
        if self._ending is not None:
            self._ending.stop_if_over()

    def _cancel_own(self, ti: Any, *, why: str) -> None:
        """Cancel what this task has made, and what a create that is on its way may still make."""
        from tuneway.errors import NotFound

        job_id, asked = self._job_id, self._asked
        # a client of its own: the other may have been interrupted in the middle of anything
        with self.hook.new_client() as client:
            if job_id is not None:
                with suppress(NotFound):  # it may not show yet
                    self._cancel(client, ti, job_id, why=why)
            if asked is not None:
                for job in client.cancel_made_by(self.requester(ti), spec=asked, marks=self._marks):
                    self._tell_cancelled(ti, job, why)

    def _cancel(self, client: Client, ti: Any, job_id: str, *, why: str) -> Job | None:
        """Cancel the job if this task may; gives the job as it is then, None if it was left alone."""
        from tuneway.steps import as_made

        job, maker = client.jobs.retrieve(job_id), self.maker(ti)
        # Airflow is asked last, for what the job itself doesn't show: a signal may have interrupted another question
        if not is_own(job, maker, marks=self._marks) and not is_own(as_made(job, self.created(ti)), maker):
            self.log.info("%s: %s was made elsewhere and goes on", why, one_line(job_id))
            return None
        job = client.cancel(job_id)
        self._tell_cancelled(ti, job, why)
        return job

    def _tell_cancelled(self, ti: Any, job: Job, why: str) -> None:
        self.log.info("%s: %s is %s", why, one_line(job.id), one_line(job.status))
        Measures(ti, type(self).__name__).cancelled(job)
