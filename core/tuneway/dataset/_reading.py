"""Read a file once, in constant memory: give its lines in chunks, and compute its sha256."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

from tuneway._escape import path_shown
from tuneway._folders import expanded
from tuneway.data import LineBlocks, changed, open_file, stamp_of, unreadable_file
from tuneway.dataset._blocks import TOO_LONG, Chunk, FileBlock
from tuneway.dataset._report import Fingerprint
from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from tuneway.data import LineStream, Readable, Spool, Unit, WrittenLines

_BLOCK = 2**20
_WAITING = 4

BOM = b"\xef\xbb\xbf"


class _HashedFile:
    """Gives what is in a file, hashes it in a second thread, and keeps a copy if there is a spool for it.

    Both reading and hashing a block release the interpreter's lock, so they run at the same time. A few blocks may
    wait to be hashed, so that neither thread waits for the other.
    """

    def __init__(self, raw: Readable, path: str, copy: Spool | None = None) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._raw = raw
        self._path = path
        self._copy = copy
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="tuneway-sha256")
        self._hashing: deque[Future[None]] = deque()

    def blocks(self) -> Iterator[bytes]:
        """Give the content, at most a megabyte at a time. At the end, all of it is hashed."""
        ahead = self._read()
        while block := ahead:
            self._hash(block)
            ahead = self._read()
            self._wait(_WAITING)
            yield block
        self._wait(0)

    def add(self, block: bytes) -> None:
        """Hash a block that was read elsewhere; none at the end."""
        self._hash(block)
        self._wait(_WAITING if block else 0)

    def close(self) -> None:
        """End the thread."""
        self._hasher.shutdown()

    def _hash(self, block: bytes) -> None:
        self._hashing.append(self._hasher.submit(self._take, block))
        self.size += len(block)

    def _wait(self, left: int) -> None:
        while len(self._hashing) > left:
            self._hashing.popleft().result()

    def _take(self, block: bytes) -> None:
        self.sha256.update(block)
        if self._copy is not None:
            self._copy.write(block)

    def _read(self) -> bytes:
        try:
            return self._raw.read(_BLOCK) or b""
        except OSError as error:
            raise unreadable_file(self._path, error, "path") from None


class Reader:
    """Reads lines once; made by `open_reader`.

    Args:
        stream: The lines.
        raw: The open file, if it is read in place.
        max_line_bytes: A longer line isn't kept.
        spool: Where what is read is kept, unless it is a file that is read in place.
        kept: Whether it is there already.
    """

    def __init__(
        self,
        stream: LineStream,
        *,
        raw: io.FileIO | None,
        max_line_bytes: int,
        spool: Spool | None = None,
        kept: bool = False,
    ) -> None:
        self.path: str = stream.name
        self.unit: Unit = stream.unit
        self.in_place: bool = raw is not None
        self.total_bytes: int | None = stream.size if raw is None else os.fstat(raw.fileno()).st_size
        self.bom: bool = False
        self._stream = stream
        self._raw = raw
        self._spool = spool
        self._limit = max(_BLOCK, max_line_bytes)
        self._file = _HashedFile(raw or stream.raw, stream.name, None if kept else spool)
        self._stamp = stamp_of(raw) if raw is not None else None
        self._again: io.BufferedReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._again is not None:
            self._again.close()

    @property
    def descriptor(self) -> int | None:
        """The open file, if it is read in place."""
        return None if self._raw is None else self._raw.fileno()

    def chunks(self) -> Iterator[Chunk]:
        """Give all lines, in chunks, without a byte order mark at the start."""
        given = self._stream.raw
        if isinstance(given, LineBlocks) and given.clean:
            yield from self._given(given.lines)
            return
        for block in self.blocks():
            yield from block.chunks(self._stream.numbers)

    def blocks(self) -> Iterator[FileBlock]:
        """Give all lines, about a megabyte at a time. A line that is longer than that comes alone."""
        number, offset = self._stream.first, 0  # without the mark
        line: list[bytes] = []  # the start of a line whose end comes in a later block; empty if it is too long
        size = 0
        for block in self._after_mark():
            start = 0
            if size and size + (first := block.find(b"\n") + 1 or len(block)) > _BLOCK:
                size += first
                line = [*line, block[:first]] if size <= self._limit else []
                if block[first - 1 : first] != b"\n":
                    continue
                yield FileBlock(number, self._at(offset), size, b"".join(line) or TOO_LONG)
                number, offset, start, line, size = number + 1, offset + size, first, [], 0
            if (end := block.rfind(b"\n") + 1) > start:
                data = b"".join([*line, memoryview(block)[start:end]])
                yield FileBlock(number, self._at(offset), len(data), data)
                number, offset, start, line, size = number + data.count(b"\n"), offset + len(data), end, [], 0
            if start < len(block):
                line.append(block[start:])
                size += len(block) - start
        if size:
            yield FileBlock(number, self._at(offset), size, b"".join(line) or TOO_LONG)

    def _after_mark(self) -> Iterator[bytes]:
        """The content without a byte order mark at the start."""
        blocks = self._file.blocks()
        start = next(blocks, b"")
        while len(start) < len(BOM) and (more := next(blocks, b"")):
            start += more
        self.bom = start.startswith(BOM)
        yield start.removeprefix(BOM)
        yield from blocks

    def _at(self, offset: int) -> int:
        return offset + len(BOM) if self.bom else offset

    def _given(self, batches: Iterator[WrittenLines]) -> Iterator[Chunk]:
        """Give lines that were made here as they are."""
        number, offset = self._stream.first, 0
        waiting: list[bytes] = []
        size = 0
        while (lines := self._next(batches)) is not None:
            waiting += lines
            *offsets, end = accumulate(map(len, lines), initial=offset)
            size += end - offset
            if size >= _BLOCK:
                self._file.add(b"".join(waiting))
                waiting, size = [], 0
            chunk = Chunk(range(number, number + len(lines)), lines, offsets, end, lines.plain_chats)
            if end - offset > self._limit and max(map(len, lines)) > self._limit:
                kept = [line if len(line) <= self._limit else TOO_LONG for line in lines]
                chunk = chunk._replace(lines=kept, plain_chats=False)
            yield chunk
            number += len(lines)
            offset = end
        self._file.add(b"".join(waiting))
        self._file.add(b"")

    def _next(self, batches: Iterator[WrittenLines]) -> WrittenLines | None:
        try:
            return next(batches, None)
        except OSError as error:
            raise unreadable_file(self.path, error, "path") from None

    def fingerprint(self) -> Fingerprint:
        """The hash and size of the file. Call it after all lines are read."""
        digest, size = self._file.sha256.hexdigest(), self._file.size
        if self._raw is None or self._stamp is None:
            return Fingerprint(digest, size)
        if stamp_of(self._raw) != self._stamp or size != self.total_bytes:
            raise changed(path_shown(self.path), "path")
        return Fingerprint(digest, size, self._stamp[1])

    def drain(self) -> Fingerprint:
        """Read everything without looking at it: to hash and to keep it."""
        deque(self._file.blocks(), maxlen=0)
        return self.fingerprint()

    def line_at(self, offset: int) -> bytes:
        """Read a line again, without its line end. Call it after all lines are read."""
        if self._again is None:
            self._again = self._reopened()
        self._again.seek(offset)
        return self._again.readline().rstrip(b"\r\n")

    def _reopened(self) -> io.BufferedReader:
        if self._spool is not None:
            return self._spool.open()
        assert self._raw is not None
        return open(os.dup(self._raw.fileno()), "rb")  # noqa: PTH123  # closed with this object


@contextmanager
def open_reader(
    stream: LineStream, *, field: str, max_line_bytes: int, spool: Spool | None = None, kept: bool = False
) -> Iterator[Reader]:
    """Read a stream of lines. A file is read in place; anything else is kept in the spool, or is there already.

    Raises:
        InvalidSpec: The file can't be opened; the message says why.
    """
    if stream.path is None:
        with Reader(stream, raw=None, max_line_bytes=max_line_bytes, spool=spool, kept=kept) as reader:
            yield reader
        return
    with (
        open_file(str(stream.path), field=field) as raw,
        Reader(stream, raw=raw, max_line_bytes=max_line_bytes) as reader,
    ):
        yield reader


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Compute a file's sha256 and size, without checking its content."""
    name = path_text(path, "path")
    with open_file(name, field="path") as raw:
        try:
            modified_ns = stamp_of(raw)[1]
            digest = hashlib.file_digest(raw, "sha256")
            return Fingerprint(digest.hexdigest(), raw.tell(), modified_ns)
        except OSError as error:
            raise unreadable_file(name, error, "path") from None


def path_text(path: str | os.PathLike[str], field: str) -> str:
    """Turn a path into a string."""
    try:
        return str(expanded(path))
    except TypeError:
        raise InvalidSpec(f"{field}: a {type(path).__name__} is not a path", field=field) from None
