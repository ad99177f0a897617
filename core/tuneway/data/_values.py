"""How each kind of value is written as JSON: one table of rules for rows, frames, Arrow and cursors of databases.

| Value | Written as |
|---|---|
| null, NaN (also of a decimal), what pandas has for them | left out of an object, null in a list |
| a whole float or decimal | an integer |
| another float or decimal | a number |
| a date, a time, a time stamp | ISO 8601 to the microsecond; in UTC if it has a time zone |
| a UUID | text |
| an enum | its value |
| a mapping, Arrow's map, a pydantic model | an object |
| a list, a tuple, an array | a list |

Everything else has no form in JSON and is refused: what is infinite, a span of time, bytes, a set, other objects, keys
that aren't text, and values that are nested without end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn
from uuid import UUID

from tuneway._escape import excerpt

MAX_DEPTH = 200
"""More levels of nesting aren't read by the parsers of JSON."""

_KEPT = (str, bool, int)
_LARGEST = 2**63  # parsers read no larger integers
_MOST_DIGITS = 40
_PLACE = re.compile(r"[\w.\[\]-]{1,120}")
_SPANS = ("MonthDayNano", "timedelta64")  # of Arrow and numpy
_FINE = ("[ns]", "[ps]", "[fs]", "[as]")


class NotJson(ValueError):
    """A value that JSON doesn't have. Its text says where it stands, and its type, but never the value.

    Args:
        where: Where it stands in its row.
        what: What is wrong with it.
        hint: What to do.
    """

    def __init__(self, where: str, what: str, hint: str) -> None:
        place = where if _PLACE.fullmatch(where) else excerpt(where)  # a key may be the text of a row
        super().__init__(f"{place if where else 'the row'} {what}")
        self.hint = hint


class NoValue:
    """Stands for a value that a frame has and Python can't have: it is refused like a value that JSON doesn't have.

    Args:
        what: What it is.
    """

    def __init__(self, what: str) -> None:
        self.what = what


def plain(value: Any, where: str = "", depth: int = 0) -> Any:
    """Make a value one of JSON's.

    Args:
        value: The value.
        where: Where it stands in its row, for errors.
        depth: How many levels it is inside of the row.

    Raises:
        NotJson: JSON has nothing for it.
    """
    kind = type(value)
    if kind in _KEPT or value is None:
        return value
    if kind is float:
        return _number(value, where)
    if isinstance(value, Mapping):
        return object_of(value, where, depth)
    if kind is list or kind is tuple:
        if depth >= MAX_DEPTH:
            raise _too_deep(where)
        return [
            None if is_null(item) else item if type(item) is str else plain(item, f"{where}[{place}]", depth + 1)
            for place, item in enumerate(value)
        ]
    for kinds, convert in _TABLE:
        if isinstance(value, kinds):
            return convert(value, where, depth)
    return _of_library(value, where, depth)


def is_null(value: Any) -> bool:
    """Whether a value stands for nothing: null, NaN, or what pandas has for them."""
    if value is None:
        return True
    kind = type(value)
    if kind in _KEPT or kind is dict or kind is list:
        return False
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    if kind.__name__ in ("NAType", "NaTType"):
        return True
    return hasattr(value, "item") and not getattr(value, "shape", True) and bool(value != value)  # noqa: PLR0124  # NaN


def object_of(row: Mapping[Any, Any], where: str = "", depth: int = 0) -> dict[str, Any]:
    """Make a mapping an object of JSON, without the fields that are null."""
    if depth >= MAX_DEPTH:
        raise _too_deep(where)
    made: dict[str, Any] = {}
    for key, value in row.items():
        if type(value) is str:  # most are
            made[key] = value
        elif not is_null(value):
            made[key] = plain(value, f"{where}.{key}" if where else str(key), depth + 1)
    if any(type(key) is not str for key in made):
        if not all(isinstance(key, str) for key in made):
            raise NotJson(where, "has keys that aren't text", "Make the keys text.")
        made = {str.__str__(key): value for key, value in made.items()}
    return made


def _of_library(value: Any, where: str, depth: int) -> Any:
    """Convert an object of a library: numpy, a frame's column, pydantic, or any sequence."""
    kind = type(value).__name__
    dtype: Any = getattr(value, "dtype", None)
    unit = getattr(dtype, "kind", None)  # of numpy: M is for time stamps, m for spans of time
    if kind in _SPANS or unit == "m":
        return _refuse_span(value, where, depth)
    if isinstance(value, Sequence) or (unit == "M" and value.shape):
        return plain(list(value), where, depth)
    if unit == "M" and dtype.str.endswith(_FINE):  # else it would become an integer
        value = value.astype("datetime64[us]")
    found = _converted_by_itself(value)
    if found is value or (unit == "M" and isinstance(found, int)):  # Python has no such year
        raise NotJson(where, f"is a {kind}, which JSON doesn't have", "Give text, a number, a list or a mapping.")
    return None if is_null(found) else plain(found, where, depth)


def _converted_by_itself(value: Any) -> Any:
    """What an object makes of itself: a pydantic model, an array or number, a column of polars; else the object."""
    for method in ("model_dump", "tolist", "to_list"):
        convert = getattr(value, method, None)
        if callable(convert):
            try:
                found = convert()
            except (ValueError, TypeError):  # such as a model that contains itself
                return value
            return value if type(found) is type(value) else found
    return value


def _number(value: float, where: str) -> int | float:
    if not math.isfinite(value):
        raise NotJson(where, "is infinite", "Give a finite number, or null.")
    return int(value) if value.is_integer() and -_LARGEST <= value < _LARGEST else value


def _decimal(value: Decimal, where: str) -> int | float:
    if not value.is_finite():
        return _number(math.inf, where)
    if value.adjusted() < _MOST_DIGITS and value == value.to_integral_value():
        return int(value)
    return _number(float(value), where)


def _moment(value: datetime) -> str:
    """A time stamp. The same moment is written the same way: databases give it in the zone of their session."""
    if hasattr(value, "nanosecond"):  # of pandas; other frames give microseconds
        value = value.to_pydatetime(warn=False)  # type: ignore[attr-defined]
    try:
        return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    except OverflowError:  # at the ends of the calendar
        return value.isoformat()


def _too_deep(where: str) -> NotJson:
    column = where.partition(".")[0].partition("[")[0]
    return NotJson(column, f"is nested more than {MAX_DEPTH} levels deep, or contains itself", "Give it flatter.")


def _no_value(value: NoValue, where: str, _: int) -> NoReturn:
    raise NotJson(where, value.what, "Leave the row out, or give text.")


def _refuse(what: str, hint: str) -> _Rule:
    def refuse(value: Any, where: str, _: int) -> NoReturn:
        raise NotJson(where, what.format(type(value).__name__), hint)

    return refuse


_Rule = Callable[[Any, str, int], Any]

_refuse_span = _refuse("is a {}, which JSON doesn't have", "Give a number of seconds, or text.")

_TABLE: list[tuple[type | tuple[type, ...], _Rule]] = [
    (Enum, lambda value, where, depth: plain(value.value, where, depth)),
    (str, lambda value, *_: str.__str__(value)),
    (int, lambda value, *_: int(value)),
    (float, lambda value, where, _: _number(float(value), where)),
    (Decimal, lambda value, where, _: _decimal(value, where)),
    (datetime, lambda value, *_: _moment(value)),
    ((date, time), lambda value, *_: value.isoformat()),
    (UUID, lambda value, *_: str(value)),
    ((bytes, bytearray, memoryview), _refuse("is bytes", "Give text, for example base64.")),
    (timedelta, _refuse_span),
    (AbstractSet, _refuse("is a {}, which has no order", "Give a list.")),
    (NoValue, _no_value),
]
"""The first line that fits decides. Values that are plain already never come here."""
