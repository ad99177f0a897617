"""From our requests to httpx's, and from replies to ours: what both drivers share, without I/O."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import ssl
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from tuneway import progress
from tuneway._version import __version__
from tuneway.calls import FilePart, Form, Request, Response, Source
from tuneway.dialects import Dialect
from tuneway.errors import (
    BadReply,
    ConnectionFailed,
    ConnectionLost,
    InvalidInput,
    InvalidSpec,
    RequestTimeout,
    TunewayError,
)
from tuneway.progress import Listener, News

WHEN_COMPLETE = "Do the same again when the file is complete: nothing that was sent is used."

CHUNK = 1024 * 1024
"""Bytes read and sent at once: large enough to be fast, small enough to be nothing."""

SECRET = 12
"""Shorter keys (none, EMPTY, test) guard nothing, and occur in honest replies."""


@dataclass(frozen=True, kw_only=True)
class Wire:
    """One service, one account: where requests go, and what they carry. Its text never shows the key."""

    base_url: str
    dialect: Dialect
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None
    api_version: str | None = None
    timeout: float = 60.0

    def url(self, request: Request) -> str:
        """The full address; keys and values of the query are encoded, brackets too."""
        pairs = list(request.query)
        if self.dialect.version_parameter and self.api_version:
            pairs.append((self.dialect.version_parameter, self.api_version))
        return self.base_url + self.dialect.path(request) + (f"?{urlencode(pairs, errors='replace')}" if pairs else "")

    def headers(self, request: Request) -> dict[str, str]:
        """All headers but those of the body."""
        headers = {
            "accept": "application/json",
            "accept-encoding": "gzip, identity",
            "user-agent": f"tuneway/{__version__} python/{platform.python_version()}",
            **request.headers,
        }
        if self.api_key:
            headers[self.dialect.key_header] = self.dialect.key_format.format(self.api_key)
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        return headers

    @property
    def timeouts(self) -> httpx.Timeout:
        """For httpx itself. What comes before sending has ended long before the total time-out cuts in.

        So a failure to connect is told from a loss, and what was half made is put away in good order.
        """
        return httpx.Timeout(self.timeout, pool=0.3 * self.timeout, connect=0.3 * self.timeout)

    def scrub(self, text: bytes) -> bytes:
        """Take the key out of what a service echoes."""
        return text.replace(self.api_key.encode(), b"[key]") if self.api_key and len(self.api_key) >= SECRET else text

    def closed(self) -> InvalidInput:
        """The error of a client that is used after its end."""
        return InvalidInput(f"this client of {self.base_url} is closed", hint="Make another one.")

    def error(self, error: Exception, request: Request) -> TunewayError:
        """Name an exception of httpx's as one of ours."""
        place = f"{request.method} {request.path}"
        told = self.scrub(str(error).encode("utf-8", "replace")).decode()[:300] or type(error).__name__
        match error:
            case httpx.InvalidURL() | httpx.UnsupportedProtocol():
                return InvalidSpec(f"base_url {self.base_url!r} can't be used: {told}", field="base_url")
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout() | httpx.ProxyError():
                return self._unreached(error, told)
            case httpx.TimeoutException() | TimeoutError():
                return RequestTimeout(f"{place} took longer than {self.timeout:g} s")
            case _:
                return ConnectionLost(f"the connection broke during {place}: {told}")

    def cause(self, error: Exception) -> Exception | None:
        """What our error may show as its cause: not one that quotes a reply in which the key is echoed."""
        text = str(error).encode("utf-8", "replace")
        return error if self.scrub(text) == text else None

    def _unreached(self, error: BaseException, told: str) -> ConnectionFailed:
        failure = ConnectionFailed(
            f"can't reach {self.base_url}: {told}", hint="Is the service running, and base_url right?"
        )
        if _has_cause(error, ssl.SSLCertVerificationError):
            failure.retryable = False
            failure.hint = "For a certificate of your own, pass `http` with a `verify` that trusts it."
        return failure


class ListenerFailed(Exception):
    """Carries what a listener raised past all that would take it for trouble with the connection."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def tell(listener: Listener, news: News) -> None:
    """Tell news while a request is being sent."""
    try:
        listener(news)
    except Exception as error:
        raise ListenerFailed(error) from error


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


@dataclass
class Body:
    """A request's body, ready to be sent: JSON as bytes, a form as a head, a file and a tail."""

    headers: dict[str, str]
    head: bytes = b""
    file: FilePart | None = None
    tail: bytes = b""
    _pieces: Generator[tuple[bytes, int], None, None] | None = None

    @classmethod
    def of(cls, request: Request) -> Body:
        """Encode a request's body."""
        if request.form is not None:
            return cls._of_form(request.form)
        if request.json is not None:
            content = _as_json(request.json)
            return cls({"content-type": "application/json", "content-length": str(len(content))}, content)
        if request.method == "POST":
            return cls({"content-type": "application/json", "content-length": "0"})
        return cls({})

    @classmethod
    def _of_form(cls, form: Form) -> Body:
        file = replace(form.file, length=_length(form.file))  # a file that grows meanwhile is sent as it was
        boundary = os.urandom(16).hex()
        fields = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in form.fields]
        name = file.filename.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})
        disposition = f'Content-Disposition: form-data; name="{file.field}"; filename="{name}"'
        fields.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n")
        head, tail = "".join(fields).encode(), f"\r\n--{boundary}--\r\n".encode()
        length = len(head) + (file.length or 0) + len(tail)
        headers = {"content-type": f"multipart/form-data; boundary={boundary}", "content-length": str(length)}
        return cls(headers, head, file, tail)

    def chunks(self) -> Iterator[tuple[bytes, int]]:
        """The body piece by piece, each with the number of the file's bytes in it. Reads the file."""
        self._pieces = self._cut()
        return self._pieces

    def close(self) -> None:
        """Let go of the file, at once."""
        if self._pieces is not None:
            with contextlib.suppress(ValueError):  # a thread of a cancelled task still reads, and is its last user
                self._pieces.close()

    def _cut(self) -> Generator[tuple[bytes, int], None, None]:
        if self.head:
            yield self.head, 0
        if self.file is not None:
            for chunk in _file_chunks(self.file):
                yield chunk, len(chunk)
        if self.tail:
            yield self.tail, 0

    def progress(self, sent: int) -> progress.Sent:
        """How far the whole file has come."""
        assert self.file is not None
        return progress.Sent(self.file.offset + sent, self.file.whole or 0)


def _as_json(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the request can't be written as JSON: {error}") from None


def _length(part: FilePart) -> int:
    if part.length is not None:
        return part.length
    if isinstance(part.source, bytes):
        return len(part.source) - part.offset
    if isinstance(part.source, Source):
        return part.source.size - part.offset
    try:
        return part.source.stat().st_size - part.offset
    except OSError as error:
        raise InvalidInput(f"can't read {part.source}: {error.strerror}") from None


def _file_chunks(part: FilePart) -> Iterator[bytes]:
    """Exactly the promised number of bytes: the length went ahead in a header."""
    left = part.length or 0
    if isinstance(part.source, bytes):
        end = part.offset + left
        for start in range(part.offset, end, CHUNK):
            yield part.source[start : min(start + CHUNK, end)]
        return
    path = part.path
    assert path is not None
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(part.offset)
            while left:
                chunk = file.read(min(CHUNK, left))
                left -= len(chunk)
                # the last piece is kept back from a file that isn't what was checked: so no service ever has all of it
                if not chunk or (not left and _was_written(part.source, file.fileno())):
                    raise InvalidInput(f"{path} changed while it was being uploaded", hint=WHEN_COMPLETE)
                yield chunk
    except OSError as error:
        raise InvalidInput(f"can't read {path}: {error.strerror}") from None


def _was_written(source: Source | Path | bytes, descriptor: int) -> bool:
    """Whether a file has been written since it was read."""
    if not isinstance(source, Source) or source.modified_ns is None:
        return False
    found = os.fstat(descriptor)
    return (found.st_size, found.st_mtime_ns) != (source.size, source.modified_ns)


class Intake:
    """Takes a reply in, piece by piece, and refuses one that is too large, compressed or not."""

    def __init__(self, wire: Wire, request: Request, status: int, headers: Mapping[str, str]) -> None:
        self._limit = request.reply_limit
        self._scrub = bytes if request.verbatim else wire.scrub
        self._status = status
        self._headers = {name.lower(): wire.scrub(value.encode()).decode() for name, value in headers.items()}
        self._parts: list[bytes] = []
        self._empty = True
        self._size = 0
        encoding = self._headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity", "gzip", "deflate"):
            raise self._bad(f"content-encoding {encoding[:40]!r}")
        self._unzip: Any = zlib.decompressobj(wbits=47) if encoding in ("gzip", "deflate") else None
        declared = self._headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and len(declared) < 20 and int(declared) > self._limit:
            raise self._bad(f"larger than {self._limit:,} bytes")

    def take(self, piece: bytes) -> None:
        """Take in the next raw piece."""
        for part in [piece] if self._unzip is None else self._unzipped(piece):
            self._size += len(part)
            if self._size > self._limit:
                raise self._bad(f"larger than {self._limit:,} bytes")
            self._parts.append(part)

    def _unzipped(self, piece: bytes) -> Iterator[bytes]:
        """A little at a time: a kilobyte can hold a megabyte."""
        self._empty = self._empty and not piece
        while piece:
            if self._unzip.eof:  # zlib would hoard whatever follows
                raise self._bad("more behind the end of its compression")
            try:
                yield self._unzip.decompress(piece, CHUNK)
            except zlib.error as error:
                raise self._bad(f"broken compression: {error}") from None
            piece = self._unzip.unconsumed_tail

    def response(self) -> Response:
        """The whole reply."""
        if self._unzip is not None and not self._unzip.eof and not self._empty:
            raise self._bad("cut short inside its compression")
        return Response(self._status, self._headers, self._scrub(b"".join(self._parts)))

    def _bad(self, why: str) -> TunewayError:
        return BadReply(f"unusable reply: {why}", status=self._status, request_id=self._headers.get("x-request-id"))
