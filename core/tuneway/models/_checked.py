"""Base classes for models that users write. A mistake in one is an `InvalidSpec` that names the field."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, ClassVar, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from tuneway._escape import excerpt, one_line, path_shown
from tuneway.errors import InvalidSpec

Place: TypeAlias = tuple[str, ...]

_SHORT = 64
_LONGEST_NAME = 80


class Checked(BaseModel):
    """A model that raises `InvalidSpec` for a mistake, however it is made.

    Its `repr`, which logs and tracebacks show, has no more than a few characters of what may be data or a secret.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise self._invalid(error, data) from None

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise self._invalid(error, {name: value}) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Make the model from a mapping."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise cls._invalid(error, obj if isinstance(obj, Mapping) else {}) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Make the model from JSON."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise cls._invalid(error, {}) from None

    @classmethod
    def model_validate_strings(cls, obj: Any, **options: Any) -> Self:
        """Make the model from a mapping of texts."""
        try:
            return super().model_validate_strings(obj, **options)
        except ValidationError as error:
            raise cls._invalid(error, obj if isinstance(obj, Mapping) else {}) from None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _brief(value)

    noun: ClassVar[str] = "job specification"
    """The word for the model in an error message."""

    @classmethod
    def _as_written(cls, place: Place, data: Mapping[str, Any]) -> Place:
        """The place where the user wrote a value, given its place in the model."""
        del data
        return place

    @classmethod
    def _known(cls) -> list[str]:
        """The field names to suggest for a misspelled one."""
        return list(cls.model_fields)

    @classmethod
    def _invalid(cls, error: ValidationError, data: Mapping[str, Any]) -> InvalidSpec:
        problems: dict[Place, str] = {}
        for item in error.errors(include_url=False):
            for place, text in _problems(dict(item), cls._known()):
                problems[cls._as_written(place, data)] = text
        named = {".".join(place): text for place, text in problems.items()}
        text = "; ".join(f"{field}: {text}" for field, text in named.items())
        return InvalidSpec(f"invalid {cls.noun}: {text}", field=next(iter(named)), problems=problems)


class Strict(Checked):
    """A checked model that refuses unknown fields, and also checks assignments."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", defer_build=True, protected_namespaces=(), validate_assignment=True
    )


class _AsItIs(str):
    """A text whose `repr` has no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _brief(value: Any) -> Any:
    """What a `repr` shows of a field's value."""
    if value is None or isinstance(value, Checked | int | float) or (isinstance(value, str) and len(value) <= _SHORT):
        return value
    return _AsItIs(repr(path_shown(value)) if isinstance(value, PathLike) else excerpt(value))


def _problems(item: dict[str, Any], known: list[str]) -> list[tuple[Place, str]]:
    """The places and texts of one item of pydantic's report. The item may contain the report of an inner model."""
    cause = item.get("ctx", {}).get("error")
    place = _place(item)
    if isinstance(cause, InvalidSpec):
        inner: dict[Place, str] = cause.__dict__.get("problems", {(cause.field,): cause.message})
        return [(place + rest, text) for rest, text in inner.items()]
    text = one_line(item["msg"].removeprefix("Value error, "))
    if item["type"] == "union_tag_invalid":
        text = f"{excerpt(item['ctx']['tag'])} is none of {item['ctx']['expected_tags']}"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], known, n=1)
        text = f"no such field; did you mean {near[0]!r}?" if near else "no such field"
    if not place and item["type"] == "value_error":
        field, _, text = text.partition(": ")
        place = (field,)
    return [(place or ("specification",), text)]


def _place(item: dict[str, Any]) -> Place:
    """The place of an item, without the names that pydantic adds for the branches of a union."""
    place = tuple(one_line(part, _LONGEST_NAME) for part in item["loc"])
    given = item.get("input")
    tagged = isinstance(given, Mapping) and len(place) > 1 and given.get("type") == place[-1]
    branch = place[-1:] and place[-1] in _BRANCHES and not item["type"].startswith("string_")
    if place[-1:] == ("[key]",):
        return place[:-1]
    return place[:-1] if tagged or branch else place


_BRANCHES = {"literal['auto']", "constrained-int", "constrained-float", "int", "float"}
