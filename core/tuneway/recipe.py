"""What to train, as one piece: the data, wherever it is, and every field of a job."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Required, Self, TypeAlias, TypedDict, Unpack

from pydantic import Field, field_validator, model_validator

from tuneway.models import JSON, File, JobSpec, Reinforcement, TrainingFields, TrainingSpec

Data: TypeAlias = str | PathLike[str]
"""Training or validation data: the path of a JSONL file."""

_FORMATS = {"dpo": "preference", "reinforcement": "reinforcement"}


class DataCheckFields(TypedDict, total=False):
    """The fields that say how data is checked, wherever it comes from.

    Attributes:
        max_usd: A training that is estimated to cost more is refused before anything is sent. A service on this
            machine sends no bill.
        data_options: Further arguments of `tuneway.dataset.validate`, such as `prices`.
    """

    max_usd: float | None
    data_options: JSON | None


class RecipeFields(TrainingFields, DataCheckFields, total=False):
    """The fields of a `Recipe`: how to train, and on which data.

    Attributes:
        training_data: The path of a JSONL file.
        validation_data: Likewise; measured during training, required for reinforcement.
    """

    training_data: Required[Data]
    validation_data: Data | None


class Recipe(TrainingSpec):
    """What to train. `Client.check` checks it whole, `Client.fine_tune` makes a model of it.

    Args:
        model: The model to start from.
        training_data: The path of a JSONL file.
        validation_data: Likewise; measured during training, required for reinforcement.
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

    training_data: Path
    validation_data: Path | None = None
    max_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    data_options: dict[str, Any] | None = None

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[RecipeFields]) -> None:
            """See the class."""

    @field_validator("training_data", "validation_data", mode="before")
    @classmethod
    def _take_paths(cls, value: Any) -> Any:
        if value is None or isinstance(value, str | PathLike):
            return value if value is None else Path(fspath(value))
        raise ValueError(f"a {type(value).__name__} is not the path of a JSONL file")

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

    def validation_options(self) -> dict[str, Any]:
        """What the check of the data has to know of the training."""
        options: Mapping[str, Any] = {
            "model": self.model,
            "n_epochs": self.requested.get("n_epochs"),
            "format": _FORMATS.get(self.kind),
            "grader": self.method.grader if isinstance(self.method, Reinforcement) else None,
        }
        return {**options, **(self.data_options or {})}
