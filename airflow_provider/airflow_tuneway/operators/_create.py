"""The step that costs money: one job for each task of each run, however often it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_tuneway._literals import is_mapped
from airflow_tuneway.links import FineTuningJobLink, store_job
from airflow_tuneway.operators._earlier import (
    EarlierJob,
    hash_of,
    is_mapped_instance,
    keeps_jobs,
    read_earlier,
    source_of,
    store_earlier,
)
from airflow_tuneway.operators._early import check_training_early, check_word_early
from airflow_tuneway.operators._ending import EndingOperator
from airflow_tuneway.operators._training import (
    RENDERERS,
    SPEC_FIELDS,
    fields_of,
    with_fields,
)
from tuneway.choices import OnStaleData, Reuse

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client
    from tuneway.steps import AskedTraining


class SubmittingOperator(EndingOperator):
    """A step that asks for a job. For `cancel_on_kill` see `EndingOperator`.

    Args:
        reuse: Which existing jobs will do. "run": those that this task has made in this run, so retries and clears
            adopt them. "content": any that trains the same data in the same way, whoever made it. "never": none;
            each clear makes a new job, and only retries adopt it.
        key: A word of your own. Tasks with equal content, such as mapped ones, share one job unless their keys
            differ.
        on_stale_data: What becomes of the job of an earlier try that is still running when the task is tried again
            and its data has changed. "adopt": the task goes on with it, and a retry doesn't even read the data again.
            "cancel": it is cancelled, if this task has made it, and the new data is trained. "fail": the task fails
            without a retry, and the job goes on. Airflow keeps the job over tries from 3.3.
    """

    template_fields: Sequence[str] = (*EndingOperator.template_fields, "reuse", "key", "on_stale_data")
    operator_extra_links = (FineTuningJobLink(),)

    def __init__(
        self, *, reuse: Reuse = "run", key: str | None = None, on_stale_data: OnStaleData = "adopt", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_word_early(self, reuse, Reuse, field="reuse")
        check_word_early(self, on_stale_data, OnStaleData, field="on_stale_data")
        self.reuse = reuse
        self.key = key
        self.on_stale_data = on_stale_data

    def go_on(self, client: Client, context: Context) -> dict[str, Any] | None:
        """The output of an earlier try whose job a retry goes on with, without reading the data again."""
        from tuneway.choices import check_word
        from tuneway.steps import job_summary

        check_word(self.on_stale_data, OnStaleData, field="on_stale_data")
        if not keeps_jobs(context) and self.on_stale_data != "adopt":
            self.log.warning("on_stale_data has no effect: before 3.3, Airflow doesn't keep a task's job over tries")
        earlier = read_earlier(context, self.log)
        ti = context["ti"]
        if earlier is None or self.on_stale_data != "adopt":
            return None
        if not earlier.is_retried(self.requester(ti), self._arguments(ti)):
            return None
        job = client.go_on(earlier.known, on_event=self.tell)
        if job is None:
            return None
        self.log.info("This try goes on with the job of an earlier one, so the data isn't read again")
        self._job_id = job.id
        return job_summary(job, earlier.known)

    def start(self, client: Client, asked: AskedTraining, context: Context, **then: Any) -> dict[str, Any]:
        """Do everything before the wait; what is asked for is noted before a job may be created.

        The result is the output of a step that creates a job. It is stored for later tries.
        """
        from tuneway import JobSpec
        from tuneway.steps import job_summary

        ti, what = context["ti"], asked.what
        requester, arguments = self.requester(ti), self._arguments(ti)
        asks: dict[str, Any] = {"reuse": self.reuse, "on_event": self.tell}
        facts: object = asked.facts
        if isinstance(what, JobSpec):
            client.check(what, requester, **asks, **then)
            spec, limit = what, None
        else:
            facts, file = client.send(what, requester, **asks, **then)
            spec, limit = what.spec(file, file.validation), client.offers.budget(what.max_usd)
        self._asked = spec
        self.stop_if_over()
        job, earlier = None, read_earlier(context, self.log)
        if earlier is not None and earlier.is_about(what, requester, self.reuse):
            job = client.go_on(earlier.known, spec, requester, on_stale_data=self.on_stale_data, on_event=self.tell)
        if earlier is not None and job is not None:
            known = job_summary(job, earlier.known)
        else:
            job = client.submit(spec, requester=requester, max_usd=limit, **asks)
            known = job_summary(job, spec, data=facts, by=requester)
        self._job_id, self._asked = job.id, None
        note = EarlierJob(
            known=known,
            occasion=requester.occasion,
            arguments=arguments,
            source=source_of(what),
            mapped=is_mapped_instance(ti),
        )
        store_earlier(context, note, self.log)
        return known

    def _arguments(self, ti: Any) -> str:
        """Hash the arguments of a mapped task, because its map index doesn't identify its input; "" for other tasks."""
        if not is_mapped_instance(ti):
            return ""
        return hash_of({name: getattr(self, name, None) for name in self.template_fields})


class CreateFineTuningJobOperator(SubmittingOperator):
    """Create one job, or adopt the one that exists. The output is the job.

    Args:
        model: The model to start from.
        training_file: The id of an uploaded file, or the output of the step that uploaded it. If that step uploaded
            validation data as well, the job is measured on it.
        validation_file: Likewise, for validation data that was uploaded apart.
        fields: The other fields of `tuneway.JobSpec`: `method`, `suffix`, `seed`, `metadata`, `integrations`,
            `hyperparameters`, `extra_body`.

    All of them are template fields. For the other arguments see `SubmittingOperator`.
    """

    template_fields: Sequence[str] = (*SubmittingOperator.template_fields, *SPEC_FIELDS)
    template_fields_renderers = RENDERERS

    @with_fields(*SPEC_FIELDS, required=("model", "training_file"))
    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        if not is_mapped(self):
            check_training_early(fields_of(self, SPEC_FIELDS))

    def work(self, client: Client, context: Context) -> dict[str, Any]:
        """Submit."""
        from tuneway.steps import asked_training

        known = self.go_on(client, context) or self.start(client, asked_training(fields_of(self, SPEC_FIELDS)), context)
        store_job(context, known["job_id"], client.base_url, self.conn_id)
        return known
