"""What to train, as one piece: the data, wherever it is, and every field of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Required, Self, TypeAlias, TypedDict, Unpack

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tuneway.choices import Order
from tuneway.models import JSON, File, JobSpec, Reinforcement, TrainingFields, TrainingSpec

Data: TypeAlias = Any
"""Training or validation data, wherever it is.

The path or the URL of JSONL, Parquet, Arrow or CSV; a path of a store, such as Airflow's `ObjectStoragePath`; rows,
which are mappings, or a function that gives them; or a frame of pandas, polars, Arrow, DuckDB or Ibis.
"""

if TYPE_CHECKING:
    from tuneway.data import GivenData

DATA = ("training_data", "validation_data")
"""The fields that are data."""

_FORMATS = {"dpo": "preference", "reinforcement": "reinforcement"}


class DataCheckFields(TypedDict, total=False):
    """The fields that say how data is read and checked, wherever it comes from.

    Attributes:
        row: How each row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows is the same file, and the same job.
        max_usd: A training that is estimated to cost more is refused before anything is sent. A service on this
            machine sends no bill.
        data_options: Further arguments of `tuneway.dataset.validate`, such as `prices`.
    """

    row: Mapping[str, str] | None
    order: Order
    max_usd: float | None
    data_options: JSON | None


class RecipeFields(TrainingFields, DataCheckFields, total=False):
    """The fields of a `Recipe`: how to train, and on which data.

    Attributes:
        training_data: A path or URL of JSONL, Parquet, Arrow or CSV; rows; or a frame. See `Data`.
        validation_data: Likewise; measured during training, required for reinforcement. A number such as 0.1 is the
            share of the training data that is split off for it.
    """

    training_data: Required[Data]
    validation_data: Data | float | None


class Recipe(TrainingSpec):
    """What to train. `Client.check` checks it whole, `Client.fine_tune` makes a model of it.

    Args:
        model: The model to start from.
        training_data: A path or URL of JSONL, Parquet, Arrow or CSV; rows; or a frame. See `Data`.
        validation_data: Likewise; measured during training, required for reinforcement. A number such as 0.1 is the
            share of the training data that is split off for it.
        row: How each row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows is the same file, and the same job.
        method: `Supervised(…)`, `DPO(…)`, `Reinforcement(…)`, or the wire's own JSON.
        suffix: A word in the new model's name.
        seed: The same seed and data give the same training, as far as the service can.
        metadata: Up to 14 pairs of your own (16, less the two by which a job is found again).
        integrations: Up to five, Weights & Biases among them.
        hyperparameters: The old place for them; `method` is the new one.
        extra_body: Fields that only your service knows; sent as they are.
        max_usd: A training that is estimated to cost more is refused before anything is sent. A service on this
            machine sends no bill.
        data_options: Further arguments of `tuneway.dataset.validate`, such as `prices`.
    """

    noun: ClassVar[str] = "recipe"

    training_data: Any
    validation_data: Any = None
    row: dict[str, str] | None = None
    order: Order = "given"
    max_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    data_options: dict[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RecipeFields]) -> None:
            """See the class."""

    @field_validator("training_data", "validation_data", mode="before")
    @classmethod
    def _take_data(cls, value: Any, info: ValidationInfo) -> Any:
        from tuneway.data import normal

        if value is None and info.field_name == "validation_data":
            return None
        return value if _is_share(value, info) else normal(value)

    @model_validator(mode="after")
    def _reinforcement_needs_validation(self) -> Self:
        if isinstance(self.method, Reinforcement) and self.validation_data is None:
            raise ValueError("validation_data: reinforcement needs validation data as well")
        return self

    def spec(self, training_file: str | File, validation_file: str | File | None = None) -> JobSpec:
        """The job specification for this recipe once its data is on the service."""
        shared = {name: getattr(self, name) for name in TrainingSpec.model_fields}
        given = {name: value for name, value in shared.items() if value is not None}
        return JobSpec(**given, training_file=training_file, validation_file=validation_file)

    @property
    def data(self) -> GivenData:
        """The data, and how it is to be read."""
        from tuneway.data import GivenData

        return GivenData(
            training_data=self.training_data, validation_data=self.validation_data, row=self.row, order=self.order
        )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show where the data is, and none of its rows."""
        from tuneway.data import name_of

        for name, value in super().__repr_args__():
            yield name, name_of(value) if name in DATA and value is not None else value

    def validation_options(self) -> dict[str, Any]:
        """What the check of the data has to know of the training."""
        options: Mapping[str, Any] = {
            "model": self.model,
            "n_epochs": self.requested.get("n_epochs"),
            "format": _FORMATS.get(self.kind),
            "grader": self.method.grader if isinstance(self.method, Reinforcement) else None,
        }
        return {**options, **(self.data_options or {})}


def _is_share(value: Any, info: ValidationInfo) -> bool:
    return info.field_name == "validation_data" and isinstance(value, int | float) and not isinstance(value, bool)
