"""The steps before a job: check the data, have it on the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_tuneway._errors import told_to_airflow
from airflow_tuneway.operators._base import TunewayOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client


class ValidateTrainingDataOperator(BaseOperator):
    """Check training data on this side, before anything is paid for.

    No connection is needed. The output says what is in it: rows, tokens, what the training would cost.
    Errors fail the task at once, and name their lines.

    Args:
        path: The file.
        model: The model to train, for its limits and prices.
        validation_file: The file to measure on, checked beside it.
        options: Further options of `tuneway.dataset.validate`.
    """

    template_fields: Sequence[str] = ("path", "model", "validation_file", "options")
    template_fields_renderers = {"options": "json"}  # noqa: RUF012 - Airflow's own form

    def __init__(
        self,
        *,
        path: str,
        model: str | None = None,
        validation_file: str | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.model = model
        self.validation_file = validation_file
        self.options = options

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Check."""
        from tuneway.dataset import validate
        from tuneway.steps import data_summary

        with told_to_airflow():
            report = validate(self.path, model=self.model, validation_file=self.validation_file, **(self.options or {}))
            for problem in report.warnings:
                self.log.warning("%s: %s", self.path, problem)
            report.raise_for_errors()
        self.log.info("%s: %s rows, %s tokens, no errors", self.path, report.rows, report.tokens.total)
        return data_summary(report, self.path)


class UploadTrainingFileOperator(TunewayOperator):
    """Have a file on the service: checked, hashed, streamed, and never sent twice. The output is its id.

    Args:
        path: The file.
        validate: Whether to check it first; errors fail the task before anything is sent.
        purpose: What the service is told that it is for.
        expires_after: Seconds after which the service deletes it.
        options: Further options of `tuneway.dataset.validate`.
    """

    template_fields: Sequence[str] = (*TunewayOperator.template_fields, "path", "options")
    template_fields_renderers = {"options": "json"}  # noqa: RUF012 - Airflow's own form

    def __init__(
        self,
        *,
        path: str,
        validate: bool = True,
        purpose: str = "fine-tune",
        expires_after: int | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.validate = validate
        self.purpose = purpose
        self.expires_after = expires_after
        self.options = options

    def work(self, client: Client, context: Context) -> str:
        """Upload, or find what is there."""
        file = client.upload(
            self.path,
            validate=self.validate,
            purpose=self.purpose,
            expires_after=self.expires_after,
            on_event=self.tell,
            **(self.options or {}),
        )
        context["ti"].xcom_push(key="filename", value=file.filename)
        return file.id
