"""What the registry keeps: the record of a model, what happened to it, and what a gate said.

Records are small JSON without secrets. They outlive the version of Tuneway that wrote them, so fields that
this version doesn't know are kept, and `schema_version` says who wrote what.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from tuneway.errors import InvalidSpec
from tuneway.models import metric_name
from tuneway.requester import Requester

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"

# Ending its service within this time, a model needs a successor: a quarter to train one and roll it out.
SHUTDOWN_NOTICE_DAYS = 90

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ALIAS_LIKE_VERSION = re.compile(r"v\d+", re.IGNORECASE)


class Kept(BaseModel):
    """Base of everything stored: immutable, unknown fields kept."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", frozen=True, protected_namespaces=(), defer_build=True
    )


def _one_name_each(metrics: Any) -> Any:
    """Metrics under their one name each: records of before have some under two."""
    if not isinstance(metrics, dict):
        return metrics
    return {metric_name(name): value for name, value in metrics.items()} | {
        name: value for name, value in metrics.items() if metric_name(name) == name
    }


Metrics = Annotated[dict[str, FiniteFloat], BeforeValidator(_one_name_each)]


class DataFile(Kept):
    """One file of training or validation data, as it was uploaded.

    `sha256` is None when nobody knows it: the file was uploaded by something else.
    """

    id: str
    filename: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    rows: int | None = None
    tokens: int | None = None


class CheckpointRecord(Kept):
    """A usable model from the middle of the training, with its metrics."""

    id: str
    step: int | None = None
    model_id: str | None = None
    metrics: Metrics = {}


class Cost(Kept):
    """What the training cost, by a table of prices that was right on a date."""

    amount: FiniteFloat
    currency: str = "USD"
    price_date: date | None = None
    estimated: bool = True


class GitState(Kept):
    """The code that asked for the training: its commit, and whether tracked files differed from it."""

    commit: str
    dirty: bool = False


class Origin(Kept):
    """Who asked: which engine, deployment, pipeline, run and step; `text` is the same in one line."""

    engine: str | None = None
    deployment: str | None = None
    pipeline: str | None = None
    run: str | None = None
    step: str | None = None
    text: str | None = None

    @classmethod
    def of(cls, requester: Requester) -> Self:
        """The registry's record of who asked."""
        return cls(
            engine=requester.engine,
            deployment=requester.deployment,
            pipeline=requester.pipeline,
            run=requester.run,
            step=requester.step,
            text=requester.origin,
        )


def without_credentials(url: str) -> str:
    """The address alone: no user, password, query or fragment, any of which may hold a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


ServiceUrl = Annotated[str, BeforeValidator(lambda url: without_credentials(url) if isinstance(url, str) else url)]


class ModelRecord(Kept):
    """Everything worth knowing about a model when the people who trained it have left.

    Args:
        name: What the model is called here, over all its versions.
        version: Counted from 1; given by the registry.
        model_id: What to ask the service for: the chosen checkpoint's model, or the job's.
        checkpoint: The id of the chosen checkpoint, if the service has checkpoints.
        checkpoint_choice: How it was chosen.
        requested: Hyperparameters as asked for; `resolved` as the service settled them.
        grader_sha256: A hash of the grader that reinforcement learned from.
        trainer: What truly trained. Losses of different trainers aren't compared, so one that uses several
            base models or tokenisers names them here: "hf:SmolLM2-135M".
        metrics: The chosen checkpoint's, else the last that the job reported.
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
        """The record's name and version as one word, which `Registry.get` understands."""
        return f"{self.name}:{self.version}" if self.version else self.name

    def to_json(self) -> str:
        """What back ends store; the version is theirs to know."""
        return self.model_dump_json(exclude={"version"}, exclude_none=True)


class Status(StrEnum):
    """Whether a version's model can still be used."""

    ACTIVE = "active"
    RETIRED = "retired"
    DELETED = "deleted"


class Verdict(Kept):
    """What one gate said, and the numbers that it said it on."""

    gate: str
    passed: bool
    why: str
    numbers: dict[str, FiniteFloat | None] = {}
    compared_with: int | None = None


class Action(StrEnum):
    """What can happen to a version; a newer Tuneway may know more."""

    REGISTERED = "registered"
    MOVED = "moved"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    MARKED = "marked"


class AuditEvent(Kept):
    """One line of a model's history.

    `moves` says where aliases point since then; None: nowhere. The numbers 0 in an event that is on its
    way to the registry stand for the version that is being registered with it.
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
        """The same event with its place in the history, zeros replaced by the version's number."""
        moves = {alias: version if target == 0 else target for alias, target in self.moves.items()}
        return self.model_copy(update={"seq": seq, "version": self.version or version, "moves": moves})


class ModelVersion(Kept):
    """A registered version: its record, and what holds for it today.

    `verdicts` are those of the last gates that it stood before, `warnings` is what its user should know,
    `new` is true on the one answer that reports its registration.
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
        """What to ask the service for."""
        return self.record.model_id

    @property
    def ref(self) -> str:
        """Name and version as one word."""
        return self.record.ref


class Lineage(Kept):
    """Where a version comes from, and who shares its data.

    Args:
        version: The version in question.
        ancestors: The versions it was tuned from, nearest first, as far as the registry knows them.
        siblings: For each of its files' sha256, every other version trained or validated on the same data.
    """

    version: ModelVersion
    ancestors: list[ModelVersion] = []
    siblings: dict[str, list[ModelVersion]] = {}


def shutdown_warning(record: ModelRecord, today: date) -> str | None:
    """What to say about the end of the base model's service, if it is near."""
    end = record.shutdown_date
    if end is None or (end - today).days > SHUTDOWN_NOTICE_DAYS:
        return None
    base = record.base_model or "the base model"
    if end <= today:
        return f"{base} was shut down on {end}: {record.model_id} no longer answers"
    return f"{base} shuts down on {end}, in {(end - today).days} days; {record.model_id} ends with it"


def check_name(name: str) -> str:
    """Refuse a name that a back end, a file system or a reference could misread."""
    if not _NAME.fullmatch(name):
        raise InvalidSpec(
            f"not a model name: {name!r}",
            field="name",
            hint="Use up to 128 letters, digits, '.', '_' and '-', starting with a letter or digit.",
        )
    return name


def check_alias(alias: str) -> str:
    """Refuse an alias that reads as something else; `previous` follows the champion by itself."""
    version = alias.lower() == "latest" or _ALIAS_LIKE_VERSION.fullmatch(alias)
    if version or not _ALIAS.fullmatch(alias):
        raise InvalidSpec(
            f"not an alias: {alias!r}",
            field="alias",
            hint="Use up to 64 letters, digits, '_' and '-', starting with a letter; "
            "'latest' and 'v1', 'v2', … mean versions.",
        )
    if alias == PREVIOUS:
        raise InvalidSpec(
            "the alias 'previous' can't be set: it is where the champion was before",
            field="alias",
            hint="Promote another champion, or roll back.",
        )
    return alias
