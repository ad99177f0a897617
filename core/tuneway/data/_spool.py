"""Temporary files that no other user can read, and that are gone when they are closed, also after a kill."""

from __future__ import annotations

import io
import os
from typing import IO, Any, Self

from tuneway.data._temporary import room_needed, temporary_file

_BLOCK = 2**20


class Spool:
    """A temporary file without a name: the system frees it when the process ends, however it ends.

    It lies where `TMPDIR` says.
    """

    def __init__(self) -> None:
        self.size: int = 0
        self._file: IO[bytes] | None = None
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        """Append data. The last of it may stay in memory until the file is opened."""
        self.size += len(data)
        if len(data) >= _BLOCK and not self._buffer:
            self._append(data)
            return
        self._buffer += data
        if len(self._buffer) >= _BLOCK:
            self._flush()

    def open(self) -> io.BufferedReader:
        """Read it from the start; several readers don't disturb each other."""
        self._flush()
        assert self._file is not None
        return io.BufferedReader(_Positioned(self._file.fileno()), 2**16)

    def close(self) -> None:
        """Free it. Readers that are open go on."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flush(self) -> None:
        self._append(bytes(self._buffer))
        self._buffer.clear()

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self._file = temporary_file(buffered=False)
        with room_needed():
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]


class _Positioned(io.RawIOBase):
    """A file with a position of its own, on a descriptor that others read too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        block = os.pread(self._descriptor, len(buffer), self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
