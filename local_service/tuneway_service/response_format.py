"""The `response_format` of a reinforcement job: the form that answers must have.

The form isn't enforced while the model writes. An answer without it has the reward 0 and isn't graded, so the model
learns the form as it learns everything else.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.exceptions import ValidationError as JsonSchemaError
from jsonschema.validators import extend
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import SchemaError as CoreSchemaError
from pydantic_core import SchemaValidator
from pydantic_core.core_schema import str_schema
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from tuneway_service.nesting import too_deep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LARGEST = 128 * 1024
"""The most characters of a schema, about as many as the hosted service takes."""
DEEPEST = 40


class _Format(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextFormat(_Format):
    """Any text."""

    type: Literal["text"]


class ObjectFormat(_Format):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(_Format):
    """A JSON schema, and what the API has beside it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    content: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class SchemaFormat(_Format):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


_Any = TypeAdapter[TextFormat | ObjectFormat | SchemaFormat](
    Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")]
)


def problem(asked: Any) -> tuple[str, str] | None:
    """What is wrong with a format: the field within it ("" for the format itself), and the message. Blocks."""
    try:
        form = _Any.validate_python(asked)
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        return ".".join(map(str, item["loc"][1:])), item["msg"]
    if not isinstance(form, SchemaFormat):
        return None
    text = _schema_problem(form.json_schema.content, strict=bool(form.json_schema.strict))
    return ("json_schema.schema", text) if text else None


def _schema_problem(schema: dict[str, Any], *, strict: bool) -> str | None:
    if too_deep(schema, DEEPEST):
        return f"it is nested deeper than {DEEPEST} levels"
    if len(json.dumps(schema)) > LARGEST:
        return f"it has more than {LARGEST} characters"
    try:
        Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as error:
        return f"{error.json_path}: it is not a valid JSON schema ({error.validator})"
    if schema.get("type") != "object":
        return "its type must be 'object'"
    return (
        next(_slow_patterns(schema), None)
        or next(_broken_references(schema), None)
        or (next(_not_strict(schema, "$"), None) if strict else None)
    )


def _slow_patterns(schema: dict[str, Any]) -> Iterator[str]:
    """Patterns that can't be matched in linear time: an answer must not keep the worker busy for ever."""
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "patternProperties" in part:
                yield "patternProperties isn't supported"
            if isinstance(pattern := part.get("pattern"), str):
                try:
                    _matcher(pattern)
                except CoreSchemaError:
                    yield f"the pattern {pattern[:100]!r} isn't supported: no look-around, no back-references"
        if isinstance(part, dict | list):
            waiting += part.values() if isinstance(part, dict) else part


@cache
def _matcher(pattern: str) -> Callable[[str], bool]:
    """Search by a regular expression in linear time."""
    return SchemaValidator(str_schema(pattern=pattern, regex_engine="rust-regex")).isinstance_python


def _match(_: Any, pattern: str, answer: Any, __: Any) -> Iterator[JsonSchemaError]:
    if isinstance(answer, str) and not _matcher(pattern)(answer):
        yield JsonSchemaError("it doesn't match the pattern")


_Validator = extend(Draft202012Validator, {"pattern": _match})


def _broken_references(schema: dict[str, Any]) -> Iterator[str]:
    """The references that lead out of the schema, or to what is no schema."""
    resolver = Registry[Any]().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    waiting: list[Any] = [schema]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        for reference in (part.get("$ref"), part.get("$dynamicRef")) if isinstance(part, dict) else ():
            if not isinstance(reference, str):
                continue
            try:
                target = resolver.lookup(reference).contents
                if id(target) not in seen:
                    seen.add(id(target))
                    Draft202012Validator.check_schema(target)
            except (Unresolvable, ValueError, SchemaError):
                yield f"the reference {reference[:100]!r} leads to no schema"
        if isinstance(part, dict | list):
            waiting += part.values() if isinstance(part, dict) else part


def _not_strict(schema: Any, place: str) -> Iterator[str]:
    """What `strict` asks of objects: no other properties, and all of them required."""
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties", {})
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            yield f"{place}: strict needs 'additionalProperties': false"
        if missing := properties.keys() - set(schema.get("required", ())):
            yield f"{place}: strict needs every property in 'required', and {min(missing)[:100]!r} isn't"
    for name in ("properties", "$defs", "definitions"):
        for key, inner in schema.get(name, {}).items():
            yield from _not_strict(inner, f"{place}.{name}.{key}")
    yield from _not_strict(schema.get("items"), f"{place}.items")
    for number, inner in enumerate(schema.get("anyOf", ())):
        yield from _not_strict(inner, f"{place}.anyOf.{number}")


class AnswerForm:
    """Checks answers against a format that has no problem."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        schema = asked["json_schema"]["schema"] if asked["type"] == "json_schema" else {"type": "object"}
        # with a registry of its own nothing is fetched from elsewhere
        self._validator = _Validator(schema, registry=Registry())

    @classmethod
    def of(cls, asked: Mapping[str, Any] | None) -> AnswerForm | None:
        """None if any text will do."""
        return None if asked is None or asked["type"] == "text" else cls(asked)

    def wrong(self, answer: str) -> str | None:
        """Why an answer doesn't have the form; None if it has. Nothing of the answer is repeated."""
        try:
            found = next(self._validator.iter_errors(json.loads(answer)), None)
        except json.JSONDecodeError:
            return "the answer isn't JSON"
        except (Unresolvable, ValueError, ArithmeticError, RecursionError) as error:
            return f"the answer can't be checked: {type(error).__name__}"
        if found is None:
            return None
        return f"the answer doesn't fit the schema at {'/'.join(map(str, found.absolute_schema_path))[:200]}"
