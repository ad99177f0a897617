"""The job specification, whose fields are checked before anything is sent.

A job specification and a recipe share the fields of `TrainingFields`. Each field is declared twice: in a `TypedDict`
for type checkers, and in a model with its rules. Wrappers take the fields as `**fields: Unpack[…]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Required, Self, TypedDict, Unpack

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticSerializationError

from tuneway.errors import InvalidSpec
from tuneway.models._checked import Checked, Strict
from tuneway.models._methods import DPO, JSON, Hyperparameters, Method, Reinforcement, Supervised
from tuneway.models._wire import File

Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]
Suffix = Annotated[str, Field(min_length=1, max_length=64)]
Seed = Annotated[int, Field(ge=0, le=2_147_483_647)]

METADATA_PAIRS, MOST_INTEGRATIONS = 16, 5


class WandbRun(Checked):
    """Where Weights & Biases shows the job: its project, and the run's name, entity and tags."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", defer_build=True)

    project: str = Field(min_length=1)
    name: str | None = None
    entity: str | None = None
    tags: list[Annotated[str, Field(max_length=64)]] | None = Field(default=None, max_length=50)


class WandbIntegration(Strict):
    """Sends the job's metrics to Weights & Biases."""

    type: Literal["wandb"] = "wandb"
    wandb: WandbRun


class TrainingFields(TypedDict, total=False):
    """The fields that say how to train. `JobSpecFields` and `RecipeFields` add the data.

    Attributes:
        model: The model to start from.
        method: `Supervised(…)`, `DPO(…)`, `Reinforcement(…)`, or OpenAI's JSON for it.
        suffix: A word that becomes part of the new model's name.
        seed: The seed. With the same seed and data, services that can do so repeat the same training.
        metadata: Up to 14 pairs of your own; two of the 16 are the marks by which a retry finds the job.
        integrations: Up to five integrations, such as Weights & Biases.
        hyperparameters: The deprecated field for hyperparameters; `method` replaces it.
        extra_body: Fields that only your service knows. They are sent as they are.
    """

    model: Required[str]
    method: Supervised | DPO | Reinforcement | JSON | None
    suffix: str | None
    seed: int | None
    metadata: Mapping[str, str] | None
    integrations: Sequence[WandbIntegration | JSON] | None
    hyperparameters: Hyperparameters | JSON | None
    extra_body: JSON | None


class JobSpecFields(TrainingFields, total=False):
    """The fields of a `JobSpec`: how to train, and the uploaded files.

    Attributes:
        training_file: The id of an uploaded file, or the `File` itself.
        validation_file: The same for validation data. Reinforcement requires it.
    """

    training_file: Required[str | File]
    validation_file: str | File | None


class TrainingSpec(Strict):
    """The fields that a job specification and a recipe share, with their checks."""

    model: str = Field(min_length=1)
    method: Method | None = None
    suffix: Suffix | None = None
    seed: Seed | None = None
    metadata: Metadata | None = Field(default=None, max_length=METADATA_PAIRS)
    integrations: list[WandbIntegration] | None = Field(default=None, max_length=MOST_INTEGRATIONS)
    hyperparameters: Hyperparameters | None = None
    extra_body: dict[str, Any] | None = None

    @field_validator("metadata")
    @classmethod
    def _refuse_reserved_names(cls, value: Metadata | None) -> Metadata | None:
        taken = [name for name in value or {} if name.startswith("tuneway_")]
        if taken:
            raise ValueError(f"names that start with 'tuneway_' are reserved: {', '.join(taken)}")
        return value

    @property
    def requested(self) -> dict[str, Any]:
        """The hyperparameters that were given, in `method` or in `hyperparameters`."""
        given = (self.method.hyperparameters if self.method else None) or self.hyperparameters
        return given.model_dump(mode="json", exclude_none=True) if given else {}

    @property
    def kind(self) -> str:
        """The name of the method that is sent; "supervised" if none is given. One in `extra_body` replaces `method`."""
        if "method" in (own := self.extra_body or {}):
            kind = own["method"].get("type") if isinstance(own["method"], Mapping) else None
            return kind if isinstance(kind, str) else "supervised"
        return self.method.type if self.method else "supervised"

    def training_to_wire(self) -> dict[str, Any]:
        """The part of the create call's JSON that says how to train, without fields that aren't given."""
        return self._to_wire(TrainingSpec.model_fields)

    def _to_wire(self, fields: Iterable[str]) -> dict[str, Any]:
        try:
            body = self.model_dump(mode="json", exclude_none=True, include=set(fields) - {"extra_body"})
        except PydanticSerializationError as error:
            raise InvalidSpec(f"invalid {self.noun}: {error}", field="method") from None
        return body | (self.extra_body or {})


class JobSpec(TrainingSpec):
    """All that is needed to create a job.

    Args:
        model: The model to start from.
        training_file: The id of an uploaded file, or the `File` itself.
        validation_file: The same for validation data. Reinforcement requires it.
        method: `Supervised(…)`, `DPO(…)`, `Reinforcement(…)`, or OpenAI's JSON for it.
        suffix: A word that becomes part of the new model's name.
        seed: The seed. With the same seed and data, services that can do so repeat the same training.
        metadata: Up to 14 pairs of your own; two of the 16 are the marks by which a retry finds the job.
        integrations: Up to five integrations, such as Weights & Biases.
        hyperparameters: The deprecated field for hyperparameters; `method` replaces it.
        extra_body: Fields that only your service knows. They are sent as they are.
    """

    training_file: str = Field(min_length=1)
    validation_file: str | None = Field(default=None, min_length=1)

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[JobSpecFields]) -> None:
            """See the class."""

    @field_validator("training_file", "validation_file", mode="before")
    @classmethod
    def _take_files(cls, value: Any) -> Any:
        return getattr(value, "id", value)

    @model_validator(mode="after")
    def _reinforcement_needs_validation(self) -> Self:
        if isinstance(self.method, Reinforcement) and self.validation_file is None:
            raise ValueError("validation_file: reinforcement needs a validation file as well")
        return self

    def to_wire(self) -> dict[str, Any]:
        """The JSON body of the create call, without fields that aren't given."""
        return self._to_wire(JobSpec.model_fields)
