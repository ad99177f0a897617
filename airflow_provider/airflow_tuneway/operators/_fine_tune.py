"""All steps in one task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_tuneway._literals import is_mapped
from airflow_tuneway.links import store_job
from airflow_tuneway.operators._create import SubmittingOperator
from airflow_tuneway.operators._early import DATA, check_training_early
from airflow_tuneway.operators._inputs import DataOperator, revealed
from airflow_tuneway.operators._models import PUBLISHING_FIELDS, PublishingOperator
from airflow_tuneway.operators._training import (
    DATA_FIELDS,
    FILE_FIELDS,
    RENDERERS,
    TRAINING_FIELDS,
    fields_of,
    with_fields,
)
from airflow_tuneway.operators._wait import WAITING_FIELDS, WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client, Job, JobSpec, Recipe

FIELDS = (*TRAINING_FIELDS, *DATA_FIELDS, *FILE_FIELDS)

ASKED = "tuneway_asked"
"""The XCom that keeps over a deferral what was asked for, and what is known of the data: a create step's output."""


class OneStepOperator(DataOperator, WaitingOperator, SubmittingOperator, PublishingOperator):
    """Check, upload, create, wait and register in one task, whoever says what to train.

    Everything is checked before anything is sent: the data, the fields, and how the model is to be registered.
    Each part can be repeated: a retry goes on with the job, and registers it once.

    Args:
        wait_for_completion: Whether to wait for the job. If not, the output is the job, for a `FineTuningJobSensor`,
            and the model can't be registered here: leave out the name.
    """

    template_fields: Sequence[str] = (
        *SubmittingOperator.template_fields,
        *DataOperator.template_fields,
        *PUBLISHING_FIELDS,
        *WAITING_FIELDS,
    )

    def __init__(self, *, wait_for_completion: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        if not is_mapped(self):
            self._check_that_it_waits()

    @abstractmethod
    def training(self, context: Context) -> Recipe | JobSpec | Mapping[str, Any]:
        """What to train: a recipe, a specification, or the fields of either."""

    def work(self, client: Client, context: Context) -> Any:
        """Do all that comes before the wait, then wait."""
        from tuneway.steps import asked_training

        self.check_wait()  # what is wrong in it is refused before anything is sent
        self._check_that_it_waits()
        known = self.go_on(client, context)
        if known is None:
            asked = asked_training(self.training(context))
            asked = asked._replace(what=self._located(asked.what))
            known = self.start(client, asked, context, **self.registration())
        self._known = known
        self.describe_inputs(known)
        if not self.wait_for_completion:
            store_job(context, known["job_id"], client.base_url, self.conn_id)
            return known
        context["ti"].xcom_push(key=ASKED, value=known)
        return self.await_job(client, context, known["job_id"])

    def _located(self, what: Recipe | JobSpec) -> Recipe | JobSpec:
        """What to train, with its data to be read."""
        given = {name: data for name in DATA if (data := getattr(what, name, None)) is not None}
        found = dict(zip(given, self.located(*given.values()), strict=True))
        moved = {name: data for name, data in found.items() if data is not given[name]}
        return what.model_copy(update=moved) if moved else what

    def _check_that_it_waits(self) -> None:
        if self.wait_for_completion or (self.name is None and self.report_to is None):
            return
        from tuneway.errors import InvalidSpec

        what = "a model can't be registered" if self.name is not None else "a report can't be written"
        raise InvalidSpec(
            f"wait_for_completion: {what} before its job has ended",
            field="wait_for_completion",
            hint="Leave out name and report_to; register in a step after the sensor.",
        )

    def created(self, ti: Any) -> Any:
        """What was asked for, and what is known of the job: kept over a deferral."""
        return self._known or ti.xcom_pull(task_ids=self.task_id, key=ASKED, map_indexes=ti.map_index)

    def done(self, context: Context, job: Job) -> dict[str, Any]:
        """Register, if there is a name."""
        from tuneway.steps import job_summary

        ti = context["ti"]
        output = job_summary(job, self.created(ti))
        self.describe_inputs(output)
        return output if self.name is None else self.publish(self.hook.client, context, output)


class FineTuneOperator(OneStepOperator):
    """Check, upload, create, wait and register in one task. The output is the version, or the job without a `name`.

    Everything is checked before anything is sent: the data, the fields, and how the model is to be registered.
    Each part can be repeated: a retry goes on with the job, and registers it once.

    Args:
        model: The model to start from.
        training_data: The path or URL of JSONL, Parquet, Arrow or CSV; an `ObjectStoragePath`; an `Asset`; rows; or a
            frame.
        validation_data: Likewise; checked with the training data as a pair, and measured during training. A number
            such as 0.1 is the share of the training data that is split off for it.
        row: How each row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows is the same file, and the same job.
        max_usd: A training that is estimated to cost more is refused before anything is sent.
        data_options: Further arguments of `tuneway.dataset.validate`, such as `prices`.
        training_file: In place of `training_data`, the id of a file that is uploaded already, or the output of the
            step that uploaded it.
        validation_file: Likewise, in place of `validation_data`.
        fields: The other fields of `tuneway.Recipe`: `method`, `suffix`, `seed`, `metadata`, `integrations`,
            `hyperparameters`, `extra_body`.

    All of them are template fields. For the other arguments see `SubmittingOperator`, `WaitingOperator`,
    `PublishingOperator` and, for `data_conn_id`, `DataOperator`.
    """

    template_fields: Sequence[str] = (*OneStepOperator.template_fields, *FIELDS)
    template_fields_renderers = RENDERERS

    @with_fields(*FIELDS, required=("model",))
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not is_mapped(self):
            check_training_early(fields_of(self, FIELDS))

    def training(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """The fields, as they are after rendering."""
        given = fields_of(self, FIELDS)
        return given | {name: revealed(given[name]) for name in DATA if name in given}
