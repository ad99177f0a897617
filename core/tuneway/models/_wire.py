"""The objects that services send.

Services differ, so little is required: an object's id, and a job's status. A field of the wrong type counts as absent,
and unknown fields are kept (`model_extra`).
"""

import functools
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from tuneway.models._status import Phase, is_ending, known_phase, phase_of

T = TypeVar("T")


def _absent_if_wrong(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


LATEST = 1e11
"""A time from this number on isn't in seconds, in which it is the year 5138, but in milliseconds or finer units."""


def _as_seconds(value: Any, validate: ValidatorFunctionWrapHandler) -> float | None:
    """Read a time: a number, or a text in ISO 8601, which is in UTC if it names no zone."""
    try:
        seconds: float | None = validate(value)
    except ValidationError:
        return _iso(value) if isinstance(value, str) else None
    while seconds is not None and LATEST <= seconds < LATEST**2:
        seconds /= 1000
    return seconds


def _iso(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < LATEST else None  # Go's zero time is the year 1


Soft = Annotated[T | None, WrapValidator(_absent_if_wrong)]
"""A field that is None if it is absent or has another type."""
Name = Soft[Annotated[str, Field(min_length=1)]]
"""The id of another object; an empty one counts as absent."""


Time = Annotated[float | None, WrapValidator(_as_seconds)]
"""A time in seconds since 1970. Services send seconds, milliseconds or a text; anything else counts as absent."""


def _in_range(seconds: float | None) -> float | None:
    """Leave out a time that `datetime` can't show, or 0."""
    return seconds if seconds is not None and 0 < seconds < LATEST else None


class WireModel(BaseModel):
    """Base class of received objects. They are immutable and keep unknown fields; pydantic builds them on first use."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True,
        extra="allow",
        frozen=True,
        defer_build=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )


class JobFault(WireModel):
    """The service's reason for a failed job."""

    code: Soft[str] = None
    message: Soft[str] = None
    param: Soft[str] = None


class Job(WireModel):
    """A fine-tuning job."""

    id: str = Field(min_length=1)
    status: str
    object: Soft[str] = None
    created_at: Time = None
    finished_at: Time = None
    estimated_finish: Annotated[Time, AfterValidator(_in_range)] = None
    model: Soft[str] = None
    fine_tuned_model: Name = None
    error: Soft[JobFault] = None
    training_file: Name = None
    validation_file: Name = None
    method: Soft[dict[str, Any]] = None
    hyperparameters: Soft[dict[str, Any]] = None
    integrations: Soft[list[dict[str, Any]]] = None
    metadata: Soft[dict[str, str]] = None
    organization_id: Soft[str] = None
    result_files: Soft[list[str]] = None
    seed: Soft[int] = None
    suffix: Soft[str] = None
    trained_tokens: Soft[int] = None

    @property
    def phase(self) -> Phase:
        """The phase for the job's status."""
        return phase_of(self.status)

    @property
    def done(self) -> bool:
        """Whether the job has ended, successfully or not."""
        return self.phase.terminal

    @property
    def ending(self) -> bool:
        """Whether the job is being cancelled. It runs until it has ended."""
        return is_ending(self.status)

    @property
    def unclear(self) -> bool:
        """Whether the job has ended, as its other fields show, with a status that is unknown here."""
        return bool(self.finished_at or self.fine_tuned_model) and known_phase(self.status) is None

    @property
    def seconds(self) -> float | None:
        """How long it took, from its creation to its end; None before that."""
        return None if self.created_at is None or self.finished_at is None else self.finished_at - self.created_at

    @property
    def kind(self) -> str | None:
        """The name of the method."""
        kind = (self.method or {}).get("type")
        return kind if isinstance(kind, str) else None

    @property
    def resolved(self) -> dict[str, Any]:
        """The hyperparameters that the service uses. Some services keep them in the method, some beside it."""
        inner = (self.method or {}).get(self.kind or "")
        own = inner.get("hyperparameters") if isinstance(inner, dict) else None
        found = own if isinstance(own, dict) and own else self.hyperparameters or {}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def trainer(self) -> str | None:
        """The trainer of the job, if the service maps model names to its own trainers and names the one it used."""
        extra = self.model_extra or {}
        usage = extra.get("usage_metrics")
        word = extra.get("trainer") or (usage.get("trainer") if isinstance(usage, dict) else None)
        return word if isinstance(word, str) else None

    @property
    def billed_usd(self) -> float | None:
        """What the service says that the job has cost, in dollars, if it says so."""
        billed = (self.model_extra or {}).get("billed_usd")
        return billed if isinstance(billed, float) else None

    @property
    def age_rank(self) -> tuple[float, str]:
        """A sort key for the oldest first: the time of creation, then the id. All processes sort the same way."""
        return (self.created_at or 0, self.id)


class Event(WireModel):
    """A line of a job's log. If its `type` is "metrics", `data` contains the metrics."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    created_at: Time = None
    level: Soft[str] = None
    message: Soft[str] = None
    type: Soft[str] = None
    data: Soft[dict[str, Any]] = None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of a metrics event; empty for other events."""
        if self.type != "metrics":
            return {}
        return {k: v for k, v in (self.data or {}).items() if isinstance(v, int | float) and not isinstance(v, bool)}


class Checkpoint(WireModel):
    """A checkpoint: a model that was saved during the training."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    created_at: Time = None
    fine_tuned_model_checkpoint: Name = None
    fine_tuning_job_id: Name = None
    step_number: Soft[int] = None
    metrics: Soft[dict[str, Any]] = None


class Permission(WireModel):
    """A permission for a project to use a checkpoint."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    created_at: Time = None
    project_id: Soft[str] = None


class File(WireModel):
    """An uploaded file."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    bytes: Soft[int] = None
    created_at: Time = None
    expires_at: Time = None
    filename: Soft[str] = None
    purpose: Soft[str] = None
    status: Soft[str] = None
    status_details: Soft[str] = None


class Upload(WireModel):
    """An upload of a large file in parts."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    bytes: Soft[int] = None
    created_at: Time = None
    expires_at: Time = None
    filename: Soft[str] = None
    purpose: Soft[str] = None
    status: Soft[str] = None
    file: Soft[File] = None


class UploadPart(WireModel):
    """One part of an upload."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    created_at: Time = None
    upload_id: Name = None


class Model(WireModel):
    """A model that the service lists."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    created: Time = None
    owned_by: Soft[str] = None
    shutdown_date: Soft[str] = None

    @property
    def tunable(self) -> bool | None:
        """Whether the model can be tuned; None if the service doesn't say."""
        extra = self.model_extra or {}
        capabilities = extra.get("capabilities")  # as Azure says it
        inner = capabilities.get("fine_tune") if isinstance(capabilities, dict) else None
        tunable = extra.get("tunable", inner)
        return tunable if isinstance(tunable, bool) else None


class MemoryEstimate(WireModel):
    """The memory that a training would need, as a local service estimates it.

    Args:
        bytes: All of it, or the least if it doesn't fit.
        free_bytes: What is free where it would be trained; None if the service doesn't know.
        fits: Whether that suffices.
        weights_bytes: The part of the weights.
        learning_bytes: The part of the gradients and the optimiser.
        tokens_at_once: How many tokens would be computed at once.
        gradient_checkpointing: Whether gradient checkpointing would be on.
        message: The same in a sentence; if it doesn't fit, what to change.
    """

    bytes: Soft[int] = None
    free_bytes: Soft[int] = None
    fits: Soft[bool] = None
    weights_bytes: Soft[int] = None
    learning_bytes: Soft[int] = None
    tokens_at_once: Soft[int] = None
    gradient_checkpointing: Soft[bool] = None
    message: Soft[str] = None


class Deleted(WireModel):
    """The answer to a delete."""

    id: str = Field(min_length=1)
    object: Soft[str] = None
    deleted: bool = False


class GraderValidation(WireModel):
    """The service's answer to a check of a grader."""

    grader: Soft[dict[str, Any]] = None


class GraderRun(WireModel):
    """A grader's score for one sample."""

    reward: Soft[float] = None
    metadata: Soft[dict[str, Any]] = None
    sub_rewards: Soft[dict[str, Any]] = None
    model_grader_token_usage_per_model: Soft[dict[str, Any]] = None


class MetricRow(WireModel):
    """A row of a job's result file. The validation metrics are empty in steps without a validation."""

    step: int
    train_loss: Soft[float] = None
    train_accuracy: Soft[float] = None
    valid_loss: Soft[float] = None
    valid_mean_token_accuracy: Soft[float] = None


class Page(WireModel, Generic[T]):
    """One page of a list. Some services leave out `has_more`, or carry the cursor to the next page in a field."""

    data: list[T]
    has_more: Soft[bool] = None
    first_id: Soft[str] = None
    last_id: Soft[str] = None
    next_page_token: Soft[str] = Field(
        default=None, validation_alias=AliasChoices("next_page_token", "nextPageToken", "nextToken")
    )


@functools.cache
def page_of(item: type[T]) -> type[Page[T]]:
    """The page model for an item. It is cached, since pydantic would forget it, and building it takes milliseconds."""
    return Page.__class_getitem__(item)  # type: ignore[return-value]
