"""How deeply JSON is nested, measured without a function that calls itself for each level."""

from __future__ import annotations

import re
from typing import Any

LONGEST_PLACE = 8
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def deep_field(text: str, most: int) -> str | None:
    """The outermost field whose value is nested deeper than `most` levels, in JSON that is too deep for its parser."""
    level, field = 0, None
    for found in _MARK.finditer(text):
        mark = found[0]
        if mark in "[{":
            level += 1
            if level > most:
                return field
        elif mark in "]}":
            level -= 1
        elif level == 1:
            # a value is no field, but a field stands between it and what is deep
            field = mark[1:-1]
    return None


def too_deep(content: dict[str, Any], most: int) -> list[str] | None:
    """Find a value that is nested deeper than `most` levels; gives the path to it, or None."""
    place: list[str] = []
    value: Any = content
    while isinstance(value, dict) and len(place) < LONGEST_PLACE:
        # one level less at each step
        found = next(((name, inner) for name, inner in value.items() if _is_deeper(inner, most - len(place) - 1)), None)
        if found is None:
            break
        place.append(found[0])
        value = found[1]
    return place or None


def _is_deeper(value: Any, most: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
