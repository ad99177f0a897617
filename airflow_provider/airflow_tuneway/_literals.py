"""What is known of an operator's arguments when a DAG file is parsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_mapped(operator: Any) -> bool:
    """Whether an operator is made of a mapped one: that is when its task runs."""
    return getattr(operator, "_BaseOperator__from_mapped", False)


def is_literal(value: object) -> bool:
    """Whether a value is known when the DAG file is parsed: no template, no output of another task, nor holds one."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, Mapping):
        return all(map(is_literal, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_literal, value))
    return not hasattr(value, "iter_references")  # a path has `resolve`, too
