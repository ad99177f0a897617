"""The bodies of requests, and the refusal that names the wrong field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from tuneway.errors import InvalidSpec
from tuneway.models import (
    METADATA_PAIRS,
    MOST_INTEGRATIONS,
    Grader,
    Metadata,
    Method,
    Reinforcement,
    Seed,
    Suffix,
    Supervised,
    WandbIntegration,
)
from tuneway_service.exact_bodies import ExactHyperparameters, exact_grader, exact_integrations, exact_method
from tuneway_service.nesting import deep_field, too_deep
from tuneway_service.refusals import Refusal
from tuneway_service.store.webhooks import EVENT_TYPES

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from starlette.requests import Request

B = TypeVar("B", bound=BaseModel)

JSON_LIMIT = 4 * 2**20
DEEPEST = 100
SHOWN = 200
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")

Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class CreateJob(_Body):
    """`POST /fine_tuning/jobs`: the fields of a job specification, with the same limits.

    What differs is the service's: a client may use any names in `metadata`, the hyperparameters may stand in both
    places, and `gpus` says how many GPUs train the job.
    """

    model: Name
    training_file: Name
    validation_file: Name | None = None
    method: Annotated[Method | None, BeforeValidator(exact_method)] = None
    hyperparameters: ExactHyperparameters | None = None
    integrations: Annotated[
        Annotated[list[WandbIntegration], Field(max_length=MOST_INTEGRATIONS)] | None,
        BeforeValidator(exact_integrations),
    ] = None
    metadata: Annotated[Metadata, Field(max_length=METADATA_PAIRS)] | None = None
    seed: Seed | None = None
    suffix: Suffix | None = None
    gpus: Annotated[int, Field(ge=1, le=4096)] | None = None

    @model_validator(mode="after")
    def _files_for_reinforcement(self) -> CreateJob:
        if isinstance(self.method, Reinforcement) and self.validation_file is None:
            raise ValueError("validation_file: reinforcement needs a validation file as well")
        return self

    def settled_method(self) -> dict[str, Any]:
        """The method as JSON, whichever of the two places the hyperparameters came in."""
        method = self.method or Supervised()
        wire: dict[str, Any] = method.model_dump(mode="json", exclude_none=True)
        inner = wire[wire["type"]]
        asked = self.hyperparameters.model_dump(mode="json", exclude_none=True) if self.hyperparameters else {}
        inner["hyperparameters"] = asked | inner.get("hyperparameters", {})
        return wire


class EstimateMemory(_Body):
    """`POST /fine_tuning/memory`: a training of so many rows, the longest of which has so many tokens."""

    model: Name
    method: Annotated[Method | None, BeforeValidator(exact_method)] = None
    rows: int = Field(ge=1)
    longest_row: int = Field(ge=1)

    def settled_method(self) -> dict[str, Any]:
        """The method as JSON."""
        return (self.method or Supervised()).model_dump(mode="json", exclude_none=True)


class ExpiresAfter(_Body):
    """When a file expires."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class CreateUpload(_Body):
    """`POST /uploads`."""

    filename: Name
    purpose: str
    bytes: int = Field(ge=1, le=8 * 2**30)
    mime_type: Name
    expires_after: ExpiresAfter | None = None

    @field_validator("purpose")
    @classmethod
    def _known(cls, value: str) -> str:
        return known_purpose(value)


def known_purpose(value: str) -> str:
    """A purpose that files can have."""
    if value not in PURPOSES:
        raise ValueError(f"{value[:64]!r} is not one of {list(PURPOSES)}")
    return value


class CompleteUpload(_Body):
    """`POST /uploads/{id}/complete`."""

    part_ids: list[Name] = Field(min_length=1, max_length=10_000)
    md5: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


class GrantPermissions(_Body):
    """`POST /fine_tuning/checkpoints/{model}/permissions`."""

    project_ids: list[Name] = Field(min_length=1, max_length=100)


class ValidateGrader(_Body):
    """`POST /fine_tuning/alpha/graders/validate`."""

    grader: Annotated[Grader, BeforeValidator(exact_grader)]


class RunGrader(ValidateGrader):
    """`POST /fine_tuning/alpha/graders/run`."""

    model_sample: Annotated[str, StringConstraints(max_length=2**20)]
    item: dict[str, Any] | None = None
    reference_answer: Any = None


EventType = Literal["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
assert set(EVENT_TYPES) == set(EventType.__args__)  # type: ignore[attr-defined]


class CreateWebhook(_Body):
    """`POST /webhook_endpoints`."""

    name: Name
    url: Annotated[str, StringConstraints(max_length=2048)]
    event_types: list[EventType] = Field(min_length=1)


class ChangeWebhook(_Body):
    """`POST /webhook_endpoints/{id}`."""

    name: Name | None = None
    url: Annotated[str, StringConstraints(max_length=2048)] | None = None
    event_types: Annotated[list[EventType], Field(min_length=1)] | None = None


class RotateSecret(_Body):
    """`POST /webhook_endpoints/{id}/rotate_secret`."""

    keep_old_secret_active_for_24_hours: bool = False


class SendSample(_Body):
    """`POST /webhook_endpoints/{id}/test`."""

    event_type: EventType


async def read_json(request: Request) -> bytes:
    """A request's body; refused when it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_LIMIT:
            raise Refusal(f"The request is larger than {JSON_LIMIT} bytes.", status=413, code="request_too_large")
    return bytes(body)


async def parse(request: Request, kind: type[B]) -> B:
    """A request's body as a model; refused with the name of the wrong field."""
    raw = await read_json(request)
    try:
        content = json.loads(raw or b"{}", parse_constant=_no_constant)
    except RecursionError:
        raise _deep(deep_field(raw.decode(errors="replace"), DEEPEST)) from None
    except ValueError:
        raise Refusal(
            "We could not parse the JSON body of your request: it isn't valid JSON.", code="invalid_json"
        ) from None
    if not isinstance(content, dict):
        raise Refusal("The body of the request must be a JSON object.", code="invalid_type")
    _refuse_deep(content)
    _refuse_what_has_no_json(content)
    return check(content, kind)


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _refuse_deep(content: dict[str, Any]) -> None:
    """Refuse a value nested so deeply that code which calls itself for each level would fail."""
    place = too_deep(content, DEEPEST)
    if place is not None:
        raise _deep(".".join(place))


def _deep(place: str | None) -> Refusal:
    param = place and place[:SHOWN]
    start = f"Invalid value for '{param}': the" if param else "The"
    return Refusal(f"{start} body is nested deeper than {DEEPEST} levels.", param=param, code="invalid_value")


def _refuse_what_has_no_json(content: dict[str, Any]) -> None:
    """Refuse what the parser takes and no reply could repeat: half of a surrogate pair, a number such as 1e999."""
    try:
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        text = "half of a surrogate pair is no character"
    except ValueError:
        text = "a number is out of range"
    else:
        return
    raise Refusal(f"We could not parse the JSON body of your request: {text}.", code="invalid_json")


def check(content: dict[str, Any], kind: type[B], *, within: str = "") -> B:
    """Check a parsed body, or a part of it: the field `within`. Nothing is converted: "7" and true aren't numbers."""
    try:
        return kind.model_validate(content, strict=True)
    except ValidationError as error:
        raise _refusal(error, within) from None


def _refusal(error: ValidationError, within: str) -> Refusal:
    """The first error, worded as the API words it."""
    problems = [_problem(item) for item in error.errors(include_url=False)]
    problems = [(".".join(filter(None, (within, place)))[:SHOWN], text) for place, text in problems]
    param, _ = problems[0]
    # for a field that takes "auto" or a number there are two errors; the last one is about the number
    text = [text for place, text in problems if place == param][-1]
    if text == "Field required":
        return Refusal(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if text.startswith("no such field") or text == "Extra inputs are not permitted":
        return Refusal(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    text = f"{text[:1].lower()}{text[1:]}"
    return Refusal(f"Invalid value for '{param}': {text}.", param=param, code="invalid_value")


def _problem(item: ErrorDetails) -> tuple[str, str]:
    """The field and the message of one error. The core's models raise `InvalidSpec`, which lists their own errors."""
    place: list[int | str] = [part for part in item["loc"] if not _is_branch(part)]
    cause, given = item.get("ctx", {}).get("error"), item["input"]
    # the branch of a tagged union; what is missing has the name of a field, which may be the same
    if isinstance(given, dict) and place and given.get("type") == place[-1] and item["type"] != "missing":
        place.pop()
    text = item["msg"].removeprefix("Value error, ").rstrip(".?")
    if isinstance(cause, InvalidSpec):
        inner, text = next(iter(cause.__dict__["problems"].items()))
        place += inner
    elif not place:
        field, _, text = text.partition(": ")
        place = [field]
    return _path(place), text


def _path(place: list[Any]) -> str:
    """A field's path as the API writes it: `messages[0].content`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in {"int", "float", "str"} or part.startswith("constrained-"))
