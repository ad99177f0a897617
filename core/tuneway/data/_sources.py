"""Recognise what was given as data, and open it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tuneway._folders import expanded
from tuneway.data import _stores
from tuneway.data._frames import READ_IN_ORDER, SUFFIXES, FrameRows, NotReadable, frame_file, frame_of
from tuneway.data._local import open_file
from tuneway.data._rows import OnceRows, frame_of_rows
from tuneway.data._spool import Spool
from tuneway.errors import InvalidSpec

ROWS = "rows"
"""The name of data that has none: a list, an iterator or a function."""

_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class LocalLines:
    """A JSONL file on this machine. It is read in place."""

    path: str


@dataclass(frozen=True, slots=True)
class RemoteLines:
    """JSONL that is streamed from elsewhere: an open file, its name without secrets, and its size if that is known."""

    file: BinaryIO
    name: str
    size: int | None


OpenedData = LocalLines | RemoteLines | FrameRows


def normal(data: Any) -> Any:
    """Check the kind of data without reading it, and keep an iterator so that a second reading is refused.

    Raises:
        ValueError: It is nothing that can be data. The text doesn't show it.
    """
    if isinstance(data, str):
        if "\n" in data or len(data) > 4096 or data.lstrip()[:1] in ("{", "["):
            raise ValueError(f"a text of {len(data):,} characters is neither a path nor a URL; rows are mappings")
        _stores.check_address(data)
        return data if _stores.is_url(data) else expanded(data)
    data = _on_this_machine(data)
    if isinstance(data, OnceRows) or _opens_itself(data) or callable(data):
        return data
    if isinstance(data, os.PathLike):
        return expanded(data)
    if isinstance(data, bytes | bytearray | Mapping | int | float):
        raise ValueError(f"a {type(data).__name__} is not data; give a path, a URL, rows or a frame")  # noqa: TRY004
    if frame_of(data) is not None:
        return data
    if isinstance(data, Iterator):
        return OnceRows(data)
    if isinstance(data, Iterable):
        return data
    raise ValueError(f"a {type(data).__name__} is not data; give a path, a URL, rows or a frame")


def name_of(data: Any) -> str:
    """What data is called in messages; without secrets, and without rows."""
    data = _on_this_machine(data)
    if isinstance(data, str):
        return _stores.shown(data if _stores.is_url(data) or not data.startswith("~") else str(expanded(data)))
    if _opens_itself(data):
        return _stores.shown(str(data)) if _stores.is_url(str(data)) else str(data)
    if isinstance(data, os.PathLike):
        return str(expanded(data))
    frame = frame_of(data) if not isinstance(data, list | tuple | OnceRows) and not callable(data) else None
    return frame.name if frame else ROWS


@contextmanager
def opened(data: Any, *, field: str) -> Iterator[OpenedData]:
    """Open data: lines that can be read, or a frame."""
    try:
        data = normal(data)
    except ValueError as error:
        raise InvalidSpec(f"{field}: {error}", field=field) from None
    with ExitStack() as stack:
        if _opens_itself(data):
            remote = stack.enter_context(_stores.open_elsewhere(data, field=field))
            yield _file(stack, remote, name_of(data), field)
        elif isinstance(data, str):  # a URL
            local = _stores.local_path(data)
            if local is None:
                remote = stack.enter_context(_stores.open_url(data, field=field))
                yield _file(stack, remote, name_of(data), field)
            else:
                yield _local(stack, local, field)
        elif isinstance(data, os.PathLike):
            yield _local(stack, Path(os.fsdecode(data)), field)
        else:
            yield _rows(data, field)


@contextmanager
def _readable(field: str) -> Iterator[None]:
    try:
        yield
    except NotReadable as error:
        raise InvalidSpec(f"{field}: {error}", field=field, hint=error.hint) from None


def _local(stack: ExitStack, path: Path, field: str) -> OpenedData:
    if not path.name.lower().endswith((*SUFFIXES, _stores.ZIPPED)):
        return LocalLines(str(path))
    raw = stack.enter_context(open_file(str(path), field=field))
    file = stack.enter_context(_stores.reader_of(raw))
    return _file(stack, _stores.Opened(file, os.fstat(file.fileno()).st_size), str(path), field, local=True)


def _file(stack: ExitStack, opened: _stores.Opened, name: str, field: str, *, local: bool = False) -> OpenedData:
    inner = _stores.without_gz(name)
    file, size = _stores.unzipped(opened, name, field=field)
    suffix = _stores.suffix_of(inner)
    if suffix not in SUFFIXES:
        return RemoteLines(file, name, size)
    if suffix not in READ_IN_ORDER and (not local or inner != name):
        file = _spooled(stack, file)
    with _readable(field):
        return frame_file(file, inner)


def _spooled(stack: ExitStack, file: BinaryIO) -> BinaryIO:
    """The content of a file that can't be read in any order, or only slowly, as a temporary file."""
    spool = stack.enter_context(Spool())
    while block := file.read(_BLOCK):
        spool.write(block)
    return stack.enter_context(spool.open())


def _rows(data: Any, field: str) -> FrameRows:
    if isinstance(data, OnceRows):
        return frame_of_rows(lambda: data.take(field), field=field)
    rows = data() if callable(data) else data
    with _readable(field):
        found = None if isinstance(rows, list | tuple) else frame_of(rows)
    if found is not None:
        return found
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping):
        raise InvalidSpec(f"{field}: the function gave a {type(rows).__name__}, not rows", field=field)
    return frame_of_rows(lambda: rows, field=field)


def is_path(data: Any) -> bool:
    """Whether data is a path object, of this machine or of a store."""
    return isinstance(data, os.PathLike) or _opens_itself(data)


def _opens_itself(data: Any) -> bool:
    """Whether data is a path of a store, as Airflow's `ObjectStoragePath` and `UPath` are."""
    kind = type(data)  # an attribute of the object itself may connect to its store
    return all(hasattr(kind, name) for name in ("open", "stat", "fs", "protocol"))


def _on_this_machine(data: Any) -> Any:
    """The plain path of a file on this machine that a library for stores stands for; other data as it is."""
    if _opens_itself(data) and data.protocol in ("", "file", "local"):
        # as a path, older versions of these libraries give `file:/data/train.jsonl`
        text = str(getattr(data, "path", None) or os.fsdecode(data))
        return Path(text.removeprefix("file://").removeprefix("file:"))
    return data
