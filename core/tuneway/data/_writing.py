"""Write a file to wherever a path or URL says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tuneway._escape import path_shown
from tuneway.data import _stores
from tuneway.data._sources import is_path, name_of, normal
from tuneway.errors import InvalidSpec


def write_place(place: Any, content: bytes, *, field: str) -> str:
    """Write a file; gives its name as it may be shown, without secrets.

    Args:
        place: A path, a URL of an object store, or a path of another library that opens itself, such as `UPath`.
        content: The whole content. What was there before is replaced.
        field: What the place is called in an error.

    Raises:
        InvalidSpec: It can't be written. The text says why, without the credentials in a URL.
    """
    name = place_name(place, field=field)
    target = normal(place)
    if isinstance(target, str):
        local = _stores.local_path(target)
        if local is None:
            _stores.write_url(target, content, field=field)
            return name
        target = local
    if isinstance(target, os.PathLike):
        _write_file(Path(os.fsdecode(target)), content, field)
    else:
        _stores.write_elsewhere(target, content, field=field)
    return name


def place_name(place: Any, *, field: str) -> str:
    """The name of a place as it may be shown, without secrets. Nothing is opened.

    Raises:
        InvalidSpec: It is no path and no URL.
    """
    try:
        target = normal(place)
    except ValueError as error:
        raise InvalidSpec(f"{field}: {error}", field=field) from None
    if not isinstance(target, str) and not is_path(target):
        raise InvalidSpec(f"{field}: a {type(place).__name__} is neither a path nor a URL", field=field)
    return name_of(place)


def _write_file(path: Path, content: bytes, field: str) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidSpec(f"{path_shown(path)} can't be written: {reason}", field=field) from None
