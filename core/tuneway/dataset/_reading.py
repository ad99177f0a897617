"""Read a file once, in constant memory: give its lines in chunks, and compute its sha256."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuneway._escape import path_shown
from tuneway.dataset._report import Fingerprint
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_BLOCK = 2**20
_WAITING = 4
_CHUNK = 96 * 2**10  # small enough that a chunk's rows fit in the processor's cache

BOM = b"\xef\xbb\xbf"
TOO_LONG = b"\0a line that is too long to be kept\n"
"""Stands for a line that is longer than the limit; compared by identity."""


class Chunk(NamedTuple):
    """Some lines, with the number of the first, the offset of each, and the offset after the last."""

    number: int
    lines: list[bytes]
    offsets: list[int]
    end: int


class _HashingFile(io.RawIOBase):
    """A file that hashes what is read from it, in a second thread.

    Both reading and hashing a block release the interpreter's lock, so they run at the same time. A few blocks may
    wait to be hashed, so that neither thread waits for the other.
    """

    def __init__(self, raw: io.FileIO, path: str) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.has_cr = False
        self._raw = raw
        self._path = path
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="tuneway-sha256")
        self._hashing: deque[Future[None]] = deque()
        self._ahead = self._read()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._ahead
        self._hashing.append(self._hasher.submit(self.sha256.update, block))
        self._ahead = self._read()
        while self._hashing and (not block or len(self._hashing) > _WAITING):
            self._hashing.popleft().result()
        self.size += len(block)
        self.has_cr = self.has_cr or b"\r" in block
        buffer[: len(block)] = block  # the buffer is empty whenever it reads, so a block fits
        return len(block)

    def close(self) -> None:
        self._hasher.shutdown()
        super().close()

    def _read(self) -> bytes:
        try:
            return self._raw.read(_BLOCK) or b""
        except OSError as error:
            raise _unreadable(self._path, error, "path") from None


class Reader:
    """Reads the lines of an open file; made by `open_reader`."""

    def __init__(self, raw: io.FileIO, path: str, *, max_line_bytes: int) -> None:
        self.path = path
        self.total_bytes = os.fstat(raw.fileno()).st_size
        self.bom = False
        self._raw = raw
        self._max_line_bytes = max_line_bytes
        self._file = _HashingFile(raw, path)
        self._lines = io.BufferedReader(self._file, _BLOCK)
        self._stamp = _stamp(raw)
        self._again: io.BufferedReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        if self._again is not None:
            self._again.close()

    @property
    def has_cr(self) -> bool:
        """Whether a carriage return was read. JSON strings can't contain one."""
        return self._file.has_cr

    def chunks(self) -> Iterator[Chunk]:
        """Give all lines, in chunks, without a byte order mark at the start."""
        number, offset, readline = 1, 0, partial(self._lines.readline, _BLOCK)
        if self._lines.peek(3)[:3] == BOM:
            self.bom = True
            offset = len(self._lines.read(3))
        while True:
            lines: list[bytes] = []
            offsets: list[int] = []
            stop = offset + _CHUNK
            for line in iter(readline, b""):
                lines.append(line)
                offsets.append(offset)
                offset += len(line)
                if offset >= stop:
                    if len(line) == _BLOCK and line[-1:] != b"\n":
                        lines[-1], more = self._whole(line)
                        offset += more
                    break
            if not lines:
                return
            yield Chunk(number, lines, offsets, offset)
            number += len(lines)

    def fingerprint(self) -> Fingerprint:
        """The hash and size of the file. Call it after all lines are read."""
        if _stamp(self._raw) != self._stamp or self._file.size != self.total_bytes:
            raise InvalidSpec(
                f"{path_shown(self.path)} changed while it was being read",
                field="path",
                hint="Try again when the file is complete.",
            )
        return Fingerprint(self._file.sha256.hexdigest(), self._file.size, self._stamp[1])

    def line_at(self, offset: int) -> bytes:
        """Read a line again, without its line end. Call it after all lines are read."""
        if self._again is None:
            self._again = open(os.dup(self._raw.fileno()), "rb")  # noqa: SIM115, PTH123  # closed with this object
        self._again.seek(offset)
        return self._again.readline().rstrip(b"\r\n")

    def _whole(self, start: bytes) -> tuple[bytes, int]:
        """Read the rest of a line that is longer than a block; gives the line, or `TOO_LONG`, and the rest's length."""
        parts, more = [start], 0
        while piece := self._lines.readline(_BLOCK):
            more += len(piece)
            if len(start) + more > self._max_line_bytes:
                parts.clear()
            else:
                parts.append(piece)
            if piece[-1:] == b"\n":
                break
        return (b"".join(parts) if parts else TOO_LONG), more


@contextmanager
def open_reader(path: str, *, field: str, max_line_bytes: int) -> Iterator[Reader]:
    """Open a file for reading; an `InvalidSpec` says why it can't be opened."""
    with open_file(path, field=field) as raw, Reader(raw, path, max_line_bytes=max_line_bytes) as reader:
        yield reader


@contextmanager
def open_file(path: str, *, field: str) -> Iterator[io.FileIO]:
    """Open a regular file, unbuffered; anything else is an `InvalidSpec`."""
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
        raise _unreadable(path, error, field) from None  # its text has the path, which may be a text
    except ValueError as error:  # a null character in the path
        if isinstance(error, InvalidSpec):
            raise
        raise InvalidSpec(f"{field}: {path_shown(path)} is not a path", field=field) from None
    with raw:
        yield raw


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Compute a file's sha256 and size, without checking its content."""
    name = path_text(path, "path")
    with open_file(name, field="path") as raw:
        try:
            modified_ns = _stamp(raw)[1]
            digest = hashlib.file_digest(raw, "sha256")
            return Fingerprint(digest.hexdigest(), raw.tell(), modified_ns)
        except OSError as error:
            raise _unreadable(name, error, "path") from None


def path_text(path: str | os.PathLike[str], field: str) -> str:
    """Turn a path into a string."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise InvalidSpec(f"{field}: a {type(path).__name__} is not a path", field=field) from None


def _unreadable(path: str, error: OSError, field: str) -> InvalidSpec:
    reason = error.strerror or type(error).__name__
    return InvalidSpec(
        f"{path_shown(path)} can't be read: {reason}", field=field, hint="Check the file and its permissions."
    )


def _stamp(raw: io.FileIO) -> tuple[int, int]:
    found = os.fstat(raw.fileno())
    return found.st_size, found.st_mtime_ns
