"""Read a file once: its lines in chunks, its sha256 on the way, in constant memory."""

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

from tuneway.dataset._report import Fingerprint
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_BLOCK = 2**20
_WAITING = 4
_CHUNK = 96 * 2**10  # small enough that a chunk's rows stay in the processor's cache

BOM = b"\xef\xbb\xbf"
TOO_LONG = b"\0a line that is too long to be kept\n"
"""Stands for a line beyond the limit; known by identity."""


class Chunk(NamedTuple):
    """Some lines: the number of the first, where each starts, and where the next chunk does."""

    number: int
    lines: list[bytes]
    offsets: list[int]
    end: int


class _HashingFile(io.RawIOBase):
    """A file that hashes what is read from it, in a thread beside the reader.

    Reading a block releases the interpreter's lock, which lets the hasher pick up the one before; hashing it
    needs no lock at all. A few blocks may wait, so that neither side has to.
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
        buffer[: len(block)] = block  # it asks when it is empty, so it has room for a block
        return len(block)

    def close(self) -> None:
        self._hasher.shutdown()
        super().close()

    def _read(self) -> bytes:
        try:
            return self._raw.read(_BLOCK) or b""
        except OSError as error:
            raise _unreadable(self._path, error, "path") from error


class Reader:
    """The lines of an open file. Use `open_reader`."""

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
        """Whether a carriage return was seen; JSON has none inside strings."""
        return self._file.has_cr

    def chunks(self) -> Iterator[Chunk]:
        """All lines, a chunk at a time. A byte order mark at the start is left out."""
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
        """Hash and size, once all is read."""
        if _stamp(self._raw) != self._stamp or self._file.size != self.total_bytes:
            raise InvalidSpec(
                f"{self.path} changed while it was being read", field="path", hint="Try again when it is complete."
            )
        return Fingerprint(self._file.sha256.hexdigest(), self._file.size, self._stamp[1])

    def line_at(self, offset: int) -> bytes:
        """Read a line again, without its end; only once all is read."""
        if self._again is None:
            self._again = open(os.dup(self._raw.fileno()), "rb")  # noqa: SIM115, PTH123  # closed with this object
        self._again.seek(offset)
        return self._again.readline().rstrip(b"\r\n")

    def _whole(self, start: bytes) -> tuple[bytes, int]:
        """The rest of a line that is longer than a block, unless it is beyond the limit."""
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
    """Open a file for reading, or say in our words why it can't be."""
    with open_file(path, field=field) as raw, Reader(raw, path, max_line_bytes=max_line_bytes) as reader:
        yield reader


@contextmanager
def open_file(path: str, *, field: str) -> Iterator[io.FileIO]:
    """A regular file, unbuffered; anything else that the path may be is our error."""
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise InvalidSpec(f"{path} is {kind}", field=field, hint="Give the path of a .jsonl file.")
        raw = io.FileIO(path)
    except FileNotFoundError:
        raise InvalidSpec(f"there is no file {path}", field=field, hint=f"You are in {Path.cwd()}.") from None
    except OSError as error:
        raise _unreadable(path, error, field) from error
    except ValueError as error:  # a null character in the path
        if isinstance(error, InvalidSpec):
            raise
        raise InvalidSpec(f"{field}: {path!r} is not a path", field=field) from None
    with raw:
        yield raw


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Hash a file without looking into it: its sha256 and its size."""
    name = path_text(path, "path")
    with open_file(name, field="path") as raw:
        try:
            modified_ns = _stamp(raw)[1]
            digest = hashlib.file_digest(raw, "sha256")
            return Fingerprint(digest.hexdigest(), raw.tell(), modified_ns)
        except OSError as error:
            raise _unreadable(name, error, "path") from error


def path_text(path: str | os.PathLike[str], field: str) -> str:
    """A path as a string."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise InvalidSpec(f"{field}: a {type(path).__name__} is not a path", field=field) from None


def _unreadable(path: str, error: OSError, field: str) -> InvalidSpec:
    reason = error.strerror or str(error)
    return InvalidSpec(f"{path} can't be read: {reason}", field=field, hint="Check the file and your rights to it.")


def _stamp(raw: io.FileIO) -> tuple[int, int]:
    found = os.fstat(raw.fileno())
    return found.st_size, found.st_mtime_ns
