"""Data in several parts, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic_core import from_json

from tuneway.data._frames import FrameRows
from tuneway.data._local import open_file
from tuneway.data._sources import LocalLines, name_of, opened
from tuneway.data._stores import reader_of
from tuneway.errors import InvalidInput


def joined(parts: Iterable[Any], *, field: str) -> Callable[[], Iterator[Mapping[str, Any]]]:
    """The rows of all parts, one part after the other. A part is whatever data may be.

    Args:
        parts: The parts, in their order.
        field: The name of the argument, for errors.
    """
    return partial(_rows, list(parts), field)


def _rows(parts: list[Any], field: str) -> Iterator[Mapping[str, Any]]:
    for part in parts:
        with opened(part, field=field) as found:
            if isinstance(found, FrameRows):
                for batch in found.batches():
                    yield from batch
            elif isinstance(found, LocalLines):
                with open_file(found.path, field=field) as raw, reader_of(raw) as file:
                    yield from _parsed(file, name_of(part))
            else:
                yield from _parsed(reader_of(found.file), found.name)


def _parsed(lines: Iterable[bytes], name: str) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip()
        if text:
            yield _row(text, f"{name}:{number}")


def _row(text: bytes, place: str) -> Mapping[str, Any]:
    try:
        row = from_json(text)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise InvalidInput(f"{place} is no JSON object")
    return row
