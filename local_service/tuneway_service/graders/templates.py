"""Templates of graders: `{{item.answer}}` and `{{sample.output_text}}` stand for data.

Templates come from clients. So they are read in one pass, and names and results have a longest length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tuneway_service.graders.result import GradingError

PATH = re.compile(r"(?P<root>item|sample)(?P<rest>(\.[A-Za-z0-9_-]+|\[\d{1,6}\])*)")
PART = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]")
LONGEST_NAME = 1000
LONGEST_TEXT = 8 * 2**20
"""Upper bound on the characters of all texts that are filled for one grader."""
SHOWN = 100


class UnknownPlace(GradingError):
    """A template names data that doesn't exist. It is the answer's error if the answer should have been other JSON."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{{{{{shown(name)}}}}} is not in the data")
        self.flag = "sample_parse_error" if name.startswith("sample.output_json") else "invalid_variable_error"


class TextTooLong(GradingError):
    """A text, filled or to be compared, is longer than the limit."""


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


class Filler:
    """Fills the templates of one grader with an answer and its row; all results together have a longest length."""

    def __init__(self, sample: ModelSample, item: Any) -> None:
        self._roots = {"item": item, "sample": sample.fields()}
        self._room = LONGEST_TEXT

    def fill(self, template: str) -> str:
        """The template with its placeholders filled; raises `UnknownPlace` and `TextTooLong`."""
        filled = []
        for text, is_name in _pieces(template):
            filled.append(_text(self._value(text)) if is_name else text)
            self._room -= len(filled[-1])
            if self._room < 0:
                raise TextTooLong(f"its texts have more than {LONGEST_TEXT} characters")
        return "".join(filled)

    def _value(self, name: str) -> Any:
        path = _path(name)
        if path is None:
            raise UnknownPlace(name)
        value = self._roots[path["root"]]
        for part in PART.finditer(path["rest"]):
            try:
                value = value[int(part[2])] if part[2] else value[part[1]]
            except (LookupError, TypeError):
                raise UnknownPlace(name) from None
        return value


def places(template: str) -> Iterator[str]:
    """The names in the placeholders of a template."""
    return (text for text, is_name in _pieces(template) if is_name)


def is_place(name: str) -> bool:
    """Whether a name has the form of one that can be looked up."""
    return _path(name) is not None


def shown(name: str) -> str:
    """A name as messages show it: not longer than a line."""
    return name if len(name) <= SHOWN else name[:SHOWN] + "…"


def _pieces(template: str) -> Iterator[tuple[str, bool]]:
    """The parts of a template in order: its own texts, and the names of its placeholders, each marked as a name.

    Reads each character a constant number of times, whatever the template is.
    """
    at = 0
    while True:
        opening = template.find("{{", at)
        closing = template.find("}}", opening + 2) if opening >= 0 else -1
        if closing < 0:
            # an opening without an end is text
            yield template[at:], False
            return
        yield template[at:opening], False
        yield template[opening + 2 : closing].strip(), True
        at = closing + 2


def _path(name: str) -> re.Match[str] | None:
    return PATH.fullmatch(name) if len(name) <= LONGEST_NAME else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
