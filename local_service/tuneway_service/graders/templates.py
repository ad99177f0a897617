"""Templates of graders: `{{item.answer}}` and `{{sample.output_text}}` stand for data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

PLACE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
PATH = re.compile(r"(?P<root>item|sample)(?P<rest>(\.[A-Za-z0-9_-]+|\[\d{1,6}\])*)")
PART = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]")


class UnknownPlace(Exception):
    """A template names data that doesn't exist."""


@dataclass(frozen=True)
class ModelSample:
    """A model's answer, as graders and their templates see it."""

    output_text: str

    @cached_property
    def output_json(self) -> Any:
        """The answer parsed as JSON; None if it isn't JSON."""
        try:
            return json.loads(self.output_text)
        except (ValueError, RecursionError):
            return None

    def fields(self) -> dict[str, Any]:
        """The fields that templates can name after `sample.`."""
        return {"output_text": self.output_text, "output_json": self.output_json, "output_tools": [], "choices": []}


def fill(template: str, sample: ModelSample, item: Any) -> str:
    """The template with its placeholders filled; raises `UnknownPlace`."""
    roots = {"item": item, "sample": sample.fields()}
    return PLACE.sub(lambda found: _text(_value(found[1], roots)), template)


def places(template: str) -> Iterator[str]:
    """The names in the placeholders of a template."""
    return (found[1] for found in PLACE.finditer(template))


def is_place(name: str) -> bool:
    """Whether a name has the form of one that can be looked up."""
    return PATH.fullmatch(name) is not None


def _value(name: str, roots: Mapping[str, Any]) -> Any:
    path = PATH.fullmatch(name)
    if path is None:
        raise UnknownPlace(name)
    value = roots[path["root"]]
    for part in PART.finditer(path["rest"]):
        try:
            value = value[int(part[2])] if part[2] else value[part[1]]
        except (LookupError, TypeError):
            raise UnknownPlace(name) from None
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
