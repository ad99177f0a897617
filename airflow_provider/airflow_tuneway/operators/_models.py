"""The steps after a job: register its model, or delete it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_tuneway._literals import is_mapped
from airflow_tuneway._registries import registry_of, where_is, worker_warning
from airflow_tuneway.assets import outlets_for, tell_asset
from airflow_tuneway.links import store_job
from airflow_tuneway.operators._base import JobOperator, TunewayOperator
from airflow_tuneway.operators._early import check_registration_early
from airflow_tuneway.operators._training import (
    REGISTRATION_FIELDS,
    fields_of,
    with_fields,
)
from tuneway._escape import one_line

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client
    from tuneway.registry import ModelRecord

PUBLISHING_FIELDS = ("name", "alias", "registry", "checkpoint", "reason", "data")
"""The arguments that are template fields."""


class PublishingOperator(TunewayOperator):
    """A step that registers a model.

    The task updates the model's asset (`model_asset(name)`), unless outlets are given: DAGs that are scheduled on it
    run when the model has a new version, with its record at hand. Where the name is a template, or the task is mapped,
    Airflow's pages show the alias "tuneway-models" in its place, since the asset is known only when the task runs.

    Args:
        name: The model's name, over all its versions.
        alias: "champion", "challenger" or a word of your own, moved to this version if the gates agree.
        registry: The registry's address; else as the connection says, else `[tuneway] registry` in Airflow's
            configuration, else TUNEWAY_REGISTRY_URI.
        checkpoint: "last" (the default) is the job's own model, "best" the checkpoint with the lowest validation
            loss.
        gates: What the version must show before the alias moves (`tuneway.registry`). A refusal fails the
            task without a retry; the version is registered all the same.
        reason: The reason, for the model's history.
        data: The output of the step that checked the data: rows and tokens for the record, where the steps before
            don't know them.
    """

    name: str | None
    registry: str | None

    @with_fields(*REGISTRATION_FIELDS)
    def __init__(self, *, data: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**outlets_for(self, self.name, kwargs))
        if not is_mapped(self):
            check_registration_early(fields_of(self, REGISTRATION_FIELDS))
        self.data = data
        self._record: ModelRecord | None = None

    def registration(self) -> dict[str, Any]:
        """How the model is registered."""
        given = fields_of(self, REGISTRATION_FIELDS)
        registry = registry_of(self.registry, self.hook)
        return given | ({"registry": registry} if registry else {})

    def publish(self, client: Client, context: Context, job: str | Mapping[str, Any]) -> dict[str, Any]:
        """Register the model of a job, or of a step's output, and notify whoever waits for the model's asset."""
        from tuneway.steps import version_summary

        data = [self.data] if self.data else []
        registration = self.registration()
        warning = worker_warning(registration.get("registry"))
        if warning:
            self.log.warning("%s", warning)
        version = client.register(job, **registration, data=data, origin=self.requester(context["ti"]))
        self.log.info("%s is registered in %s", one_line(version.ref), where_is(registration.get("registry")))
        for warning in version.warnings:
            self.log.warning("%s", one_line(warning, 1000))
        self._record = version.record
        told = version_summary(version)
        tell_asset(context, version.name, told)
        return told

    def get_openlineage_facets_on_start(self) -> Any:
        """What Airflow's OpenLineage provider asks for when the task begins: the data, if the task is given some."""
        from airflow_tuneway.lineage import lineage_at_start
        from airflow_tuneway.operators._early import DATA
        from airflow_tuneway.operators._inputs import revealed

        return lineage_at_start(revealed(getattr(self, name, None)) for name in DATA)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002
        """What Airflow's OpenLineage provider asks for when the task has succeeded."""
        from airflow_tuneway.lineage import lineage_of

        return lineage_of(self._record) if self._record is not None else None


class RegisterModelOperator(PublishingOperator, JobOperator):
    """Register a succeeded job's model, once, with its lineage. The output is the version.

    Args:
        job: The output of the step that waited for it; or its id, which doesn't say what was asked for, nor on
            how many rows.
        name: The model's name.

    For the other arguments see `PublishingOperator`.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, *PUBLISHING_FIELDS)

    def __init__(self, *, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def work(self, client: Client, context: Context) -> dict[str, Any]:
        """Register."""
        store_job(context, self.job_id, client.base_url, self.conn_id)
        return self.publish(client, context, self.job)


class DeleteFineTunedModelOperator(TunewayOperator):
    """Delete a fine-tuned model from the service. One that isn't there (any more) is fine.

    Args:
        model: The model's id, or the output of the step that waited for it or registered it.
    """

    template_fields: Sequence[str] = (*TunewayOperator.template_fields, "model")

    def __init__(self, *, model: str | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def work(self, client: Client, context: Context) -> str:  # noqa: ARG002
        """Delete."""
        from tuneway.errors import NotFound
        from tuneway.steps import model_id_of

        model = model_id_of(self.model)
        try:
            client.models.delete(model)
        except NotFound:
            self.log.info("%s isn't there", one_line(model))
        return model
