"""Multipart forms: the file is hashed and written to disk as it arrives, in constant memory."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from tuneway_service.ids import new_id
from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO, Self

    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request

BATCH = 1 << 20
FIELD_LIMIT = 64 * 1024
OVERHEAD = 64 * 1024
FIELDS = 32


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
    pending: bytearray = field(default_factory=bytearray)
    seen: bool = False
    ended: bool = False

    # what the parser calls

    def __post_init__(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._name = self._header = self._value = b""
        self._field: bytearray | None = None

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
        self._headers, self._header, self._value = {}, b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"")
        if self._name == self.file_field.encode():
            if self.seen:
                raise Refusal(f"Only one {self.file_field!r} is allowed.", param=self.file_field)
            self.seen, self._field = True, None
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace") or None
        elif len(self.fields) >= FIELDS:
            raise Refusal("The form has too many fields.", code="invalid_multipart")
        else:
            self._field = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is not None:
            self._field += data[start:end]
            if len(self._field) > FIELD_LIMIT:
                raise Refusal("A field of the form is too long.", status=413, code="request_too_large")
            return
        self.size += end - start
        if self.size > self.limit:
            raise too_large(self.limit, self.file_field)
        self.pending += data[start:end]

    def _part_end(self) -> None:
        if self._field is not None:
            self.fields[self._name.decode("utf-8", "replace")] = self._field.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True

    def flush(self, file: BinaryIO, *, last: bool = False) -> None:
        """Hash and write the pending bytes; runs in a thread."""
        self.digest.update(self.pending)
        file.write(self.pending)
        self.pending.clear()
        if last:
            file.flush()
            os.fsync(file.fileno())


def too_large(limit: int, param: str) -> Refusal:
    """413 with the limit."""
    return Refusal(f"The {param} is larger than {limit} bytes.", status=413, param=param, code="file_too_large")


class receive:  # noqa: N801 - reads as a verb: `async with receive(request, …) as form`
    """Receive a form. Its file is in the scratch folder, and is removed at the end unless it was moved."""

    def __init__(self, request: Request, scratch: Path, *, file_field: str, limit: int) -> None:
        self.request = request
        self.form = Received(scratch / new_id("scratch_"), file_field, limit)

    async def __aenter__(self) -> Self:
        boundary = self._boundary()
        length = self.request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > self.form.limit + OVERHEAD:
            raise too_large(self.form.limit, self.form.file_field)
        try:
            file = await anyio.to_thread.run_sync(self.form.path.open, "xb")
            try:
                await self._pump(boundary, file)
            finally:
                await anyio.to_thread.run_sync(file.close)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        if not self.form.seen:
            await self.__aexit__(None, None, None)
            name = self.form.file_field
            raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
        return self

    def _boundary(self) -> bytes:
        kind, options = parse_options_header(self.request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise Refusal("Expected a multipart/form-data body.", status=415, code="unsupported_content_type")
        return boundary

    async def _pump(self, boundary: bytes, file: BinaryIO) -> None:
        parser = MultipartParser(boundary, self.form.callbacks())
        try:
            async for chunk in self.request.stream():
                parser.write(chunk)
                if len(self.form.pending) >= BATCH:
                    await anyio.to_thread.run_sync(self.form.flush, file)
        except FormParserError as error:
            raise Refusal(f"The multipart body can't be parsed: {error}", code="invalid_multipart") from None
        if not self.form.ended:
            raise Refusal("The multipart body is cut short.", code="invalid_multipart")
        await anyio.to_thread.run_sync(lambda: self.form.flush(file, last=True))

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await anyio.to_thread.run_sync(lambda: self.form.path.unlink(missing_ok=True))
