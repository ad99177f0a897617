"""The steps before a job: check the data, upload it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_tuneway._errors import airflow_errors
from airflow_tuneway._telling import log_news
from airflow_tuneway.operators._base import TunewayOperator
from airflow_tuneway.operators._early import check_word_early
from airflow_tuneway.operators._inputs import DataOperator
from tuneway.choices import Order

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tuneway import Client
    from tuneway.recipe import Data

DATA = ("training_data", "validation_data", "row", "order", "data_options")
RENDERED_AS_JSON = {"row": "json", "data_options": "json"}


class ValidateTrainingDataOperator(DataOperator):
    """Check data on this side, before anything is sent or paid for. No connection is needed.

    The output says what is in the data: rows, tokens, what the training would cost; `validation` says the same of
    the validation data. Errors fail the task at once, and name their lines.

    Args:
        training_data: The path or URL of JSONL, Parquet, Arrow or CSV; an `ObjectStoragePath`; an `Asset`; rows; or a
            frame.
        validation_data: Likewise, or the share of the training data that is split off: 0.1. Given both, they are
            checked as a pair: a row that is in both is an error.
        row: How each row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows is the same file.
        model: The model to train, for its limits and prices.
        data_options: Further arguments of `tuneway.dataset.validate`.

    For `data_conn_id` see `DataOperator`.
    """

    template_fields: Sequence[str] = (*DataOperator.template_fields, *DATA, "model")
    template_fields_renderers = RENDERED_AS_JSON

    def __init__(
        self,
        *,
        training_data: Data | None = None,
        validation_data: Data | float | None = None,
        row: Mapping[str, str] | None = None,
        order: Order = "given",
        model: str | None = None,
        data_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        check_word_early(self, order, Order, field="order")
        self.training_data = training_data
        self.validation_data = validation_data
        self.row = row
        self.order = order
        self.model = model
        self.data_options = data_options

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Check."""
        from tuneway.dataset import validate
        from tuneway.progress import DataChecked
        from tuneway.steps import data_summary

        with airflow_errors():
            training_data, validation_data = self.located(self.training_data, self.validation_data)
            report = validate(
                training_data,
                validation_data=validation_data,
                row=self.row,
                order=self.order,
                model=self.model,
                **(self.data_options or {}),
            )
            log_news(self.log, DataChecked(report))
            self.describe_inputs(report)
            report.raise_for_errors()
        return data_summary(report)


class UploadTrainingFileOperator(DataOperator, TunewayOperator):
    """Upload data: check it, hash it, and send it unless the service has it already.

    The output is the next step's `training_file`, or its `validation_file` if only validation data is given. It
    says the file's id, rows and tokens; `validation` says the same of the validation file.

    Args:
        training_data: The path or URL of JSONL, Parquet, Arrow or CSV; an `ObjectStoragePath`; an `Asset`; rows; or a
            frame.
        validation_data: Likewise, or the share of the training data that is split off: 0.1. Given both, they are
            checked as a pair: a row that is in both is an error. Files that are uploaded separately are not
            compared.
        row: How each row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows is the same file.
        validate: Whether to check the data first; errors fail the task before anything is sent. Without the check
            the output doesn't know rows and tokens.
        purpose: What the files are for; it is sent to the service.
        expires_after: Seconds after which the service deletes them.
        data_options: Further arguments of `tuneway.dataset.validate`.

    For `data_conn_id` see `DataOperator`.
    """

    template_fields: Sequence[str] = (
        *TunewayOperator.template_fields,
        *DataOperator.template_fields,
        *DATA,
        "purpose",
    )
    template_fields_renderers = RENDERED_AS_JSON

    def __init__(
        self,
        *,
        training_data: Data | None = None,
        validation_data: Data | float | None = None,
        row: Mapping[str, str] | None = None,
        order: Order = "given",
        validate: bool = True,
        purpose: str = "fine-tune",
        expires_after: int | None = None,
        data_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        check_word_early(self, order, Order, field="order")
        self.training_data = training_data
        self.validation_data = validation_data
        self.row = row
        self.order = order
        self.validate = validate
        self.purpose = purpose
        self.expires_after = expires_after
        self.data_options = data_options

    def work(self, client: Client, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Upload, or find what is there."""
        from tuneway.steps import file_summary

        training_data, validation_data = self.located(self.training_data, self.validation_data)
        uploaded = client.upload(
            training_data,
            validation_data=validation_data,
            row=self.row,
            order=self.order,
            validate=self.validate,
            purpose=self.purpose,
            expires_after=self.expires_after,
            on_event=self.tell,
            **(self.data_options or {}),
        )
        output = file_summary(uploaded)
        self.describe_inputs(output)
        return output
