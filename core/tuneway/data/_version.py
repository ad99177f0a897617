"""What tells the content of a file from what it was before, without reading it where its store keeps such a word."""

from __future__ import annotations

import hashlib
import os
from typing import Any, BinaryIO

from tuneway.data import _stores
from tuneway.data._local import open_file
from tuneway.data._sources import is_path, normal
from tuneway.errors import InvalidSpec

_BLOCK = 2**20


def version_of(data: Any, *, field: str) -> str | None:
    """A word that changes when the content of a path or URL does; None if there is no such file.

    A file on this machine is read. A store or a web server is asked for its own word, and read if it has none.
    """
    try:
        data = normal(data)
    except ValueError as error:
        raise InvalidSpec(f"{field}: {error}", field=field) from None
    local = _stores.local_path(data) if isinstance(data, str) else data
    if local is None:
        word = _stores.version_of_url(data, field=field)
        return word if word != "" else _read_url(data, field)
    if not is_path(local):
        raise InvalidSpec(f"{field}: a {type(local).__name__} is no path and no URL", field=field)
    if isinstance(data, str) or type(local).__module__.startswith("pathlib"):
        if not os.path.exists(local):  # noqa: PTH110 - any kind of path
            return None
        with open_file(os.fspath(local), field=field) as file:
            return _hash(file)
    if not local.exists():
        return None
    with _stores.open_elsewhere(local, field=field) as opened:
        return _hash(opened.file)


def _read_url(url: str, field: str) -> str:
    with _stores.open_url(url, field=field) as opened:
        return _hash(opened.file)


def _hash(file: BinaryIO | Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
