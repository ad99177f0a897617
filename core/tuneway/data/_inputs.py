"""What an engine may store and show of data that a step was given: where it comes from, and never a row of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneway.data._frames import NotReadable, frame_of
from tuneway.data._sources import is_path, name_of, normal


def is_place(data: Any) -> bool:
    """Whether data only says where the rows are, so that it can be stored and shown as it is.

    Rows and frames are no place, nor is a URL with a password or a query, nor anything that can't be data. A share,
    and no data at all, have nothing to hide.
    """
    if isinstance(data, str):
        try:
            known = normal(data)
        except ValueError:  # a text that is no path may be a row
            return False
        return not isinstance(known, str) or name_of(data) == data
    return data is None or isinstance(data, int | float) or is_path(data)


def is_frame(data: Any) -> bool:
    """Whether data is a frame of a library that is known, also if a package is missing to read it."""
    try:
        return frame_of(data) is not None
    except NotReadable:
        return True


def shown_input(data: Any, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe data by its source, its number of rows, and a hash of the rows.

    Args:
        data: What was given.
        facts: What is known since the data was read: `rows` and `sha256`. Before, only the length of a list is known.
    """
    counted = {"rows": len(data)} if isinstance(data, list | tuple) else {}
    known = {name: value for name in ("rows", "sha256") if (value := (facts or {}).get(name)) is not None}
    return {"source": _source(data), **counted, **known}


def _source(data: Any) -> str:
    try:
        normal(data)
        return name_of(data)
    except (ValueError, NotReadable):
        return f"a {type(data).__name__}"
