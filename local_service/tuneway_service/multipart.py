"""Multipart forms: the file is hashed and written to disk as it arrives, in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from tuneway_service.ids import new_id
from tuneway_service.jsonl import RowCheck
from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO, Self

    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

BATCH = 1 << 20
"""So many bytes are parsed, hashed and written at once in a thread, while the next ones arrive."""

FIELD_LIMIT = 64 * 1024
OVERHEAD = 64 * 1024
PARTS = 32
PART_HEADERS = 16
HEADER_LIMIT = 8 * 1024


@dataclass
class Received:
    """A form while it arrives: short fields in memory, one file on disk."""

    path: Path
    file_field: str
    limit: int
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    seen: bool = False
    ended: bool = False

    def __post_init__(self) -> None:
        self.rows = RowCheck(self.path)
        self._file: BinaryIO | None = None
        self._headers: dict[bytes, bytes] = {}
        self._name = self._header = self._value = b""
        self._field: bytearray | None = None
        self._parts = self._header_bytes = 0

    def open(self) -> None:
        """Create the file."""
        self._file = self.path.open("xb")

    def store(self, parser: MultipartParser, chunks: Sequence[bytes]) -> None:
        """Parse what has arrived, and hash and write what the file has of it."""
        assert self._file is not None
        try:
            for chunk in chunks:
                parser.write(chunk)
        except FormParserError as error:
            raise malformed(f"The multipart body can't be parsed: {error}") from None
        self._file.flush()

    def close(self, *, keep: bool) -> None:
        """Close the file. It is on the disk for certain if it is to be kept."""
        file, self._file = self._file, None
        if file is not None:
            with file:
                if keep:
                    os.fsync(file.fileno())

    # what the parser calls

    def callbacks(self) -> MultipartCallbacks:
        """The parser's callbacks."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._headers, self._header, self._value, self._header_bytes = {}, b"", b"", 0
        self._parts += 1
        if self._parts > PARTS:
            raise malformed(f"The form has more than {PARTS} parts.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_LIMIT:
            raise malformed(f"A part of the form has more than {HEADER_LIMIT} bytes of headers.")

    def _header_end(self) -> None:
        if len(self._headers) == PART_HEADERS:
            raise malformed(f"A part of the form has more than {PART_HEADERS} headers.")
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = options_of(self._headers.get(b"content-disposition", b""), "Content-Disposition")
        self._name = options.get(b"name", b"")
        if not self._name:
            raise malformed("A part of the form has no name in its Content-Disposition.")
        if self._name == self.file_field.encode():
            if self.seen:
                raise Refusal(f"Only one {self.file_field!r} is allowed.", param=self.file_field)
            self.seen, self._field = True, None
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace") or None
        else:
            self._refuse_twice(self._name.decode("utf-8", "replace"))
            self._field = bytearray()

    def _refuse_twice(self, name: str) -> None:
        if name in self.fields:
            raise malformed(f"The field {name[:100]!r} is given twice.", param=name[:100])

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        piece = memoryview(data)[start:end]
        if self._field is not None:
            self._field += piece
            if len(self._field) > FIELD_LIMIT:
                name = self._name.decode("utf-8", "replace")
                text = f"A field of the form is longer than {FIELD_LIMIT} bytes."
                raise Refusal(text, status=413, param=name[:100], code="request_too_large")
            return
        assert self._file is not None
        self.size += len(piece)
        if self.size > self.limit:
            raise too_large(self.limit, self.file_field)
        self.digest.update(piece)
        self._file.write(piece)

    def _part_end(self) -> None:
        if self._field is not None:
            self.fields[self._name.decode("utf-8", "replace")] = self._field.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


def too_large(limit: int, param: str) -> Refusal:
    """413 with the limit."""
    return Refusal(f"The {param} is larger than {limit} bytes.", status=413, param=param, code="file_too_large")


def malformed(text: str, *, param: str | None = None) -> Refusal:
    """400 for a form that isn't one."""
    return Refusal(text, param=param, code="invalid_multipart")


def options_of(header: str | bytes, name: str) -> tuple[bytes, dict[bytes, bytes]]:
    """The value and the options of a header such as `form-data; name="file"`."""
    try:
        return parse_options_header(header)
    except Exception:  # noqa: BLE001 - which error a malformed header raises differs between versions of the parser
        raise malformed(f"The header {name} can't be parsed.", param=name) from None


class receive:  # noqa: N801 - reads as a verb: `async with receive(request, …) as form`
    """Receive a form. Its file is in the scratch folder, and is removed at the end unless it was moved.

    Args:
        request: The request with the form.
        scratch: The folder for the file.
        file_field: The name of the field that is the file.
        limit: The most bytes that the file may have.
        stored: Called in a thread each time that more of the form is stored.
    """

    def __init__(
        self,
        request: Request,
        scratch: Path,
        *,
        file_field: str,
        limit: int,
        stored: Callable[[Received], None] = lambda _: None,
    ) -> None:
        self.request = request
        self.form = Received(scratch / new_id("scratch_"), file_field, limit)
        self._stored = stored

    async def __aenter__(self) -> Self:
        parser = self._parser()
        length = self.request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > self.form.limit + OVERHEAD:
            raise too_large(self.form.limit, self.form.file_field)
        try:
            await anyio.to_thread.run_sync(self.form.open)
            await self._pump(parser)
            await anyio.to_thread.run_sync(lambda: self.form.close(keep=True))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    def _parser(self) -> MultipartParser:
        kind, options = options_of(self.request.headers.get("content-type", ""), "Content-Type")
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise Refusal(
                "Expected a multipart/form-data body.",
                status=415,
                param="Content-Type",
                code="unsupported_content_type",
            )
        if len(boundary) > 70:  # RFC 2046
            raise malformed(
                "The boundary in the header Content-Type is longer than 70 characters.", param="Content-Type"
            )
        return MultipartParser(boundary, self.form.callbacks())

    async def _pump(self, parser: MultipartParser) -> None:
        """Store what has arrived in a thread, while more arrives."""
        chunks: list[bytes] = []
        size = taken = 0
        storing: asyncio.Task[None] | None = None
        try:
            async for chunk in self.request.stream():
                chunks.append(chunk)
                size, taken = size + len(chunk), taken + len(chunk)
                if taken > self.form.limit + OVERHEAD:
                    raise too_large(self.form.limit, self.form.file_field)
                if size >= BATCH:
                    if storing is not None:
                        await storing
                    storing = asyncio.create_task(self._store(parser, chunks))
                    chunks, size = [], 0
            if storing is not None:
                await storing
            await self._store(parser, chunks)
        finally:
            if storing is not None and not storing.done():
                # the request has failed, but the file must stay open until nobody writes to it
                await asyncio.wait([storing])
                storing.cancelled() or storing.exception()
        if not self.form.ended:
            raise malformed("The multipart body is cut short.")
        if not self.form.seen:
            name = self.form.file_field
            raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")

    async def _store(self, parser: MultipartParser, chunks: Sequence[bytes]) -> None:
        def store() -> None:
            self.form.store(parser, chunks)
            self._stored(self.form)

        await anyio.to_thread.run_sync(store)

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await anyio.to_thread.run_sync(self._discard)

    def _discard(self) -> None:
        self.form.rows.close()
        with suppress(OSError):  # what the disk has no room for isn't kept anyway
            self.form.close(keep=False)
        self.form.path.unlink(missing_ok=True)
