"""What the registry stores: records of models, events of their history, and verdicts of gates.

Records are small JSON without secrets. Later and earlier versions of Tuneway read them too, so unknown fields are kept,
and `schema_version` says how a record was written.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from tuneway._escape import excerpt
from tuneway.errors import InvalidSpec
from tuneway.models import metric_name
from tuneway.requester import Requester

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

# How long before a base model is shut down to warn about it: a quarter of a year, to train and roll out another model.
SHUTDOWN_NOTICE_DAYS = 90

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ALIAS_LIKE_VERSION = re.compile(r"v\d+", re.IGNORECASE)


class Kept(BaseModel):
    """Base class of stored objects. They are immutable and keep unknown fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True, extra="allow", frozen=True, protected_namespaces=(), defer_build=True
    )


def _one_name_each(metrics: Any) -> Any:
    """Rename metrics to the names of the table; older records have two names for some metrics."""
    if not isinstance(metrics, dict):
        return metrics
    return {metric_name(name): value for name, value in metrics.items()} | {
        name: value for name, value in metrics.items() if metric_name(name) == name
    }


Metrics = Annotated[dict[str, FiniteFloat], BeforeValidator(_one_name_each)]


class DataFile(Kept):
    """An uploaded file of training or validation data.

    `sha256` is None if it is unknown, because another program uploaded the file.
    """

    id: str
    filename: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    rows: int | None = None
    tokens: int | None = None


class CheckpointRecord(Kept):
    """A checkpoint of the training, with its metrics."""

    id: str
    step: int | None = None
    model_id: str | None = None
    metrics: Metrics = {}


class Cost(Kept):
    """The cost of the training, by a table of prices with a date."""

    amount: FiniteFloat
    currency: str = "USD"
    price_date: date | None = None
    estimated: bool = True


class GitState(Kept):
    """The state of the code that asked for the training: its commit, and whether tracked files differed from it."""

    commit: str
    dirty: bool = False


class Origin(Kept):
    """Who asked for the training. `text` is the same as one readable line."""

    engine: str | None = None
    deployment: str | None = None
    pipeline: str | None = None
    run: str | None = None
    step: str | None = None
    text: str | None = None

    @classmethod
    def of(cls, requester: Requester) -> Self:
        """Make the origin from a requester."""
        return cls(
            engine=requester.engine,
            deployment=requester.deployment,
            pipeline=requester.pipeline,
            run=requester.run,
            step=requester.step,
            text=requester.origin,
        )

    @classmethod
    def on(cls, mark: str) -> Self:
        """Make the origin from the mark on a job, which starts with the engine."""
        engine, found, _ = mark.partition(": ")
        return cls(engine=engine if found else None, text=mark)


def without_credentials(url: str) -> str:
    """Remove user, password, query and fragment from an address, since each may contain a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


ServiceUrl = Annotated[str, BeforeValidator(lambda url: without_credentials(url) if isinstance(url, str) else url)]


class ModelRecord(Kept):
    """The record of a version: how its model was trained, and the results.

    Args:
        name: The model's name in the registry, the same for all its versions.
        version: The version's number, from 1. The registry assigns it.
        model_id: The service's name of the model: that of the chosen checkpoint, or of the job.
        checkpoint: The id of the chosen checkpoint, if the service has checkpoints.
        checkpoint_choice: How the checkpoint was chosen.
        requested: The hyperparameters that were asked for.
        resolved: The hyperparameters that the service used.
        grader_sha256: The hash of the grader, for reinforcement.
        trainer: What trained the model. Metrics of different trainers aren't compared, so a trainer that uses
            several base models or tokenisers names them here, as in "hf:SmolLM2-135M".
        metrics: The metrics of the chosen checkpoint, or else the last that the job reported.
    """

    schema_version: int = 1
    name: str
    version: int | None = None
    model_id: str = Field(min_length=1)
    job_id: str = Field(min_length=1)
    checkpoint: str | None = None
    checkpoint_choice: Literal["last", "best"] = "last"
    checkpoints: list[CheckpointRecord] = []
    base_model: str | None = None
    shutdown_date: date | None = None
    training: DataFile | None = None
    validation: DataFile | None = None
    method: str | None = None
    grader_sha256: str | None = None
    requested: dict[str, Any] = {}
    resolved: dict[str, Any] = {}
    seed: int | None = None
    trained_tokens: int | None = None
    cost: Cost | None = None
    metrics: Metrics = {}
    git: GitState | None = None
    origin: Origin | None = None
    service_url: ServiceUrl | None = None
    trainer: str | None = None
    job_created_at: datetime | None = None
    job_finished_at: datetime | None = None
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    written_by: str | None = None

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False)
            text = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems)
            field = ".".join(map(str, problems[0]["loc"]))
            raise InvalidSpec(f"not a model record: {text}", field=field) from None

    @property
    def ref(self) -> str:
        """The reference to this version: name and number, as `Registry.get` accepts them."""
        return f"{self.name}:{self.version}" if self.version else self.name

    def to_json(self) -> str:
        """The JSON that back ends store, without the version, which they store themselves."""
        return self.model_dump_json(exclude={"version"}, exclude_none=True)


class Status(StrEnum):
    """Whether a version's model can still be used."""

    ACTIVE = "active"
    RETIRED = "retired"
    DELETED = "deleted"


class Verdict(Kept):
    """The verdict of one gate, and the numbers that it is based on."""

    gate: str
    passed: bool
    why: str
    numbers: dict[str, FiniteFloat | None] = {}
    compared_with: int | None = None


class Action(StrEnum):
    """The kinds of events. A newer version of Tuneway may have more."""

    REGISTERED = "registered"
    MOVED = "moved"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    MARKED = "marked"


class AuditEvent(Kept):
    """One event of a model's history.

    `moves` says to which version each alias has moved; None if it was removed. In an event that isn't stored yet, 0
    stands for the version that is being registered with it.
    """

    seq: int = 0
    at: datetime
    by: str
    action: str
    version: int = 0
    alias: str | None = None
    moves: dict[str, int | None] = {}
    status: Status | None = None
    reason: str | None = None
    verdicts: list[Verdict] = []

    def placed(self, *, seq: int, version: int) -> Self:
        """Give the event its number in the history, and replace zeros with the version's number."""
        moves = {alias: version if target == 0 else target for alias, target in self.moves.items()}
        return self.model_copy(update={"seq": seq, "version": self.version or version, "moves": moves})


class ModelVersion(Kept):
    """A registered version: its record, and its present state.

    Args:
        record: The record.
        aliases: The aliases that point to it.
        status: Whether its model can be used.
        verdicts: The verdicts of the gates that were last evaluated for it.
        warnings: What its users should know.
        new: Whether this call has registered it.
    """

    record: ModelRecord
    aliases: list[str] = []
    status: Status = Status.ACTIVE
    verdicts: list[Verdict] = []
    warnings: list[str] = []
    new: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return self.record.name

    @property
    def version(self) -> int:
        """The version's number."""
        assert self.record.version is not None
        return self.record.version

    @property
    def model_id(self) -> str:
        """The service's name of the model."""
        return self.record.model_id

    @property
    def ref(self) -> str:
        """The reference to this version, such as `name:3`."""
        return self.record.ref


class Lineage(Kept):
    """What a version was tuned from, and which versions use the same data.

    Args:
        version: The version.
        ancestors: The versions that it was tuned from, nearest first, as far as they are registered.
        siblings: By the sha256 of each of its files, the other versions that were trained or validated on it.
    """

    version: ModelVersion
    ancestors: list[ModelVersion] = []
    siblings: dict[str, list[ModelVersion]] = {}


def shutdown_warning(record: ModelRecord, today: date) -> str | None:
    """The warning about the shutdown of the base model, if it is near."""
    end = record.shutdown_date
    if end is None or (end - today).days > SHUTDOWN_NOTICE_DAYS:
        return None
    base = record.base_model or "the base model"
    if end <= today:
        return f"{base} was shut down on {end}: {record.model_id} no longer answers"
    return f"{base} is shut down on {end}, in {(end - today).days} days; then {record.model_id} no longer answers"


def check_name(name: str) -> str:
    """Check a model's name: it must be safe in all back ends, file systems and references."""
    if not _NAME.fullmatch(name):
        raise InvalidSpec(
            f"not a model name: {excerpt(name)}",
            field="name",
            hint="Use up to 128 letters, digits, '.', '_' and '-', starting with a letter or digit.",
        )
    return name


def check_alias(alias: str) -> str:
    """Check an alias. It must not look like a version, and `previous` can't be set."""
    version = alias.lower() == "latest" or _ALIAS_LIKE_VERSION.fullmatch(alias)
    if version or not _ALIAS.fullmatch(alias):
        raise InvalidSpec(
            f"not an alias: {excerpt(alias)}",
            field="alias",
            hint="Use up to 64 letters, digits, '_' and '-', starting with a letter; "
            "'latest', 'v1', 'v2', … aren't allowed, since they look like versions.",
        )
    if alias == PREVIOUS:
        raise InvalidSpec(
            "the alias 'previous' can't be set: it always points to the champion before this one",
            field="alias",
            hint="Promote another champion, or roll back.",
        )
    return alias
