"""Temporary files without a name: no other user can read them, and the system frees them however the process ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tuneway.errors import InvalidInput


def temporary_file(*, buffered: bool = True) -> IO[bytes]:
    """Make a temporary file. It lies where `TMPDIR` says.

    Args:
        buffered: Whether writes and reads are whole. Else each may be of fewer bytes than asked for.

    Raises:
        InvalidInput: It can't be made.
    """
    with room_needed():
        return tempfile.TemporaryFile(prefix="tuneway-", buffering=-1 if buffered else 0)


@contextmanager
def room_needed() -> Iterator[None]:
    """Around what writes a temporary file: an error says where there is no room."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(
            f"a temporary file for the data can't be written: {error.strerror or type(error).__name__}", hint=_hint()
        ) from None


def _hint() -> str:
    try:
        return f"Free disk space in {tempfile.gettempdir()}, or set TMPDIR."
    except OSError:  # no folder can be written
        return "Set TMPDIR to a folder that can be written."
