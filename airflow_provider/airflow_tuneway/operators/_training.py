"""The fields of a training that operators take: their names.

Airflow has to know the names when it parses a DAG file, where importing the core would take too long, so they stand
here once more. A test compares them with the core's types.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

TRAINING_FIELDS = ("model", "method", "suffix", "seed", "metadata", "integrations", "hyperparameters", "extra_body")
"""The fields that a recipe and a job specification share."""

FILE_FIELDS = ("training_file", "validation_file")
DATA_FIELDS = ("training_data", "validation_data", "row", "order", "max_usd", "data_options")
SPEC_FIELDS = (*TRAINING_FIELDS, *FILE_FIELDS)
RECIPE_FIELDS = (*TRAINING_FIELDS, *DATA_FIELDS)
REGISTRATION_FIELDS = ("name", "registry", "alias", "checkpoint", "gates", "reason")

JSON_FIELDS = ("method", "metadata", "integrations", "hyperparameters", "extra_body", "row", "data_options")
RENDERERS = dict.fromkeys(JSON_FIELDS, "json")

Init = TypeVar("Init", bound=Callable[..., None])


def with_fields(*fields: str, required: Sequence[str] = ()) -> Callable[[Init], Init]:
    """Let a constructor take these fields and keep each as an attribute; what is left out is None.

    The fields become a part of the constructor's signature: there Airflow looks up which of the `default_args` an
    operator takes, and which arguments `partial` and `expand` may be given.
    """

    def decorate(init: Init) -> Init:
        @functools.wraps(init)
        def take(self: Any, **arguments: Any) -> None:
            for name in fields:
                value = arguments.pop(name, None)
                setattr(self, name, as_json(value) if name in JSON_FIELDS else value)
            init(self, **arguments)

        own = inspect.signature(init)
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=inspect.Parameter.empty if name in required else None
            )
            for name in fields
        ]
        first, *others = own.parameters.values()
        take.__signature__ = own.replace(parameters=[first, *more, *others])  # type: ignore[attr-defined]
        return take  # type: ignore[return-value]

    return decorate


def as_json(value: Any) -> Any:
    """An argument that may be, or hold, one of the core's models, as Airflow can store and render it."""
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", exclude_none=True) if dump else value


def fields_of(operator: Any, names: Sequence[str]) -> dict[str, Any]:
    """The fields that an operator was given."""
    given = {name: getattr(operator, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}
