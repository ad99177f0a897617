"""Open files on this machine; an error says why a path can't be read."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuneway._escape import path_shown
from tuneway.errors import InvalidSpec


@contextmanager
def open_file(path: str, *, field: str) -> Iterator[io.FileIO]:
    """Open a regular file, unbuffered; anything else is an `InvalidSpec`, as is a file that changes meanwhile."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise InvalidSpec(f"{path_shown(path)} is {kind}", field=field, hint="Give the path of a .jsonl file.")
        raw = io.FileIO(path)
    except FileNotFoundError:
        raise InvalidSpec(
            f"there is no file {path_shown(path)}", field=field, hint=f"You are in {Path.cwd()}."
        ) from None
    except OSError as error:
        raise unreadable_file(path, error, field) from None  # its text has the path, which may be a text
    except ValueError as error:  # a null character in the path
        if isinstance(error, InvalidSpec):
            raise
        raise InvalidSpec(f"{field}: {path_shown(path)} is not a path", field=field) from None
    with raw, io.FileIO(os.dup(raw.fileno())) as watched:  # what buffers the file may close it
        before = stamp_of(watched)
        yield raw
        if stamp_of(watched) != before:
            raise changed(path_shown(path), field)


def stamp_of(raw: io.FileIO) -> tuple[int, int]:
    """The size of an open file, and when it was last written."""
    found = os.fstat(raw.fileno())
    return found.st_size, found.st_mtime_ns


def changed(name: str, field: str) -> InvalidSpec:
    """The error for data that isn't what it was when it was opened: parts of both may have been read."""
    return InvalidSpec(
        f"{name} changed while it was being read", field=field, hint="Try again when the file is complete."
    )


def unreadable_file(path: str, error: OSError, field: str) -> InvalidSpec:
    """The error for a file that can't be read."""
    reason = error.strerror or type(error).__name__
    return InvalidSpec(
        f"{path_shown(path)} can't be read: {reason}", field=field, hint="Check the file and its permissions."
    )
