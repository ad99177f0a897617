"""What both drivers share, without I/O: make httpx's requests from ours, and our replies from httpx's."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import ssl
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import httpx

from tuneway import progress
from tuneway._escape import path_shown
from tuneway._hiding import hide_in_logs
from tuneway._version import __version__
from tuneway.calls import FilePart, Form, Request, Response, Source
from tuneway.dialects import Dialect, bearer
from tuneway.drivers._token import TokenSource
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

WHEN_COMPLETE = "Upload the file again when it is complete. What was sent of it is not used."

CHUNK = 1024 * 1024
"""Bytes that are read and sent at once."""

SECRET = 12
"""The shortest key that is hidden in replies. Shorter ones (none, EMPTY, test) are no secrets, but common words."""


@dataclass(frozen=True, kw_only=True)
class Wire:
    """One account on one service: the address of requests, and their headers. Its `repr` never shows the key.

    Instead of a key there may be tokens that expire.
    """

    base_url: str
    dialect: Dialect
    api_key: str | None = field(default=None, repr=False)
    tokens: TokenSource | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None
    api_version: str | None = None
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.api_key or self.tokens:
            hide_in_logs(self)

    def url(self, request: Request) -> str:
        """The full URL. Names and values of the query are percent-encoded, brackets too."""
        if request.address is not None:
            return self._address(request.address)
        pairs = list(request.query)
        if self.dialect.version_parameter and self.api_version:
            pairs.append((self.dialect.version_parameter, self.api_version))
        return self.base_url + request.path + (f"?{urlencode(pairs, errors='replace')}" if pairs else "")

    def _address(self, address: str) -> str:
        """An address that the service has given; data that came over https doesn't leave over http."""
        scheme = address.partition("://")[0].lower()
        if scheme != "https" and (scheme != "http" or self.base_url.startswith("https:")):
            error = BadReply("the service named an address that isn't https, so nothing was sent there")
            error.retryable = False
            raise error
        return address

    def headers(self, request: Request, key: str | None) -> dict[str, str]:
        """All headers except those of the body, for a key or a token."""
        headers = {
            "accept": "application/json",
            "accept-encoding": "gzip, identity",
            "user-agent": f"tuneway/{__version__} python/{platform.python_version()}",
            **request.headers,
        }
        if request.address is not None:
            return headers
        if key:
            headers |= bearer(key) if self.tokens else self.dialect.authorise(key)
        if self.organization:
            headers["openai-organization"] = self.organization
        if self.project:
            headers["openai-project"] = self.project
        return headers

    @property
    def timeouts(self) -> httpx.Timeout:
        """The time-outs of httpx itself.

        Those before sending are shorter than the total time-out. So a failure to connect is distinguished from a
        lost connection, and httpx closes a half-open connection itself.
        """
        return httpx.Timeout(self.timeout, pool=0.3 * self.timeout, connect=0.3 * self.timeout)

    def scrub(self, text: bytes) -> bytes:
        """Replace the key, or tokens, in text that a service sends back."""
        for secret in [self.api_key] if self.tokens is None else self.tokens.secrets:
            if secret and len(secret) >= SECRET:
                text = text.replace(secret.encode(), b"[key]")
        return text

    def closed(self) -> InvalidInput:
        """The error for a client that is used after it was closed."""
        return InvalidInput(f"this client of {self.base_url} is closed", hint="Make a new client.")

    def error(self, error: Exception, request: Request) -> TunewayError:
        """Turn an exception of httpx into one of ours."""
        operation = f"{request.method} {request.path}"
        reason = self.scrubbed(request, str(error).encode("utf-8", "replace")).decode()[:300] or type(error).__name__
        match error:
            case httpx.InvalidURL() | httpx.UnsupportedProtocol():
                if request.address is not None:
                    return BadReply(f"the address that the service named for {operation} can't be used")
                return InvalidSpec(f"base_url {self.base_url!r} can't be used: {reason}", field="base_url")
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout() | httpx.ProxyError():
                return self._unreached(error, reason, self.base_url if request.address is None else "its file store")
            case httpx.TimeoutException() | TimeoutError():
                return RequestTimeout(f"{operation} took longer than {self.timeout:g} s")
            case _:
                return ConnectionLost(f"the connection broke during {operation}: {reason}")

    def cause(self, error: Exception, request: Request) -> Exception | None:
        """The cause to show with our error; None if its text contains the key or a hidden address."""
        text = str(error).encode("utf-8", "replace")
        return error if self.scrubbed(request, text) == text else None

    def scrubbed(self, request: Request, text: bytes) -> bytes:
        """Replace the key, and the address that the request was sent to if it has one of its own."""
        text = self.scrub(text)
        return text if request.address is None else HiddenAddress(request.address).scrub(text)

    def _unreached(self, error: BaseException, reason: str, what: str) -> ConnectionFailed:
        failure = ConnectionFailed(
            f"can't reach {what}: {reason}", hint="Check that the service is running, and base_url."
        )
        if _has_cause(error, ssl.SSLCertVerificationError):
            failure.retryable = False
            failure.hint = "If the certificate is your own, pass `http` with a `verify` that trusts it."
        return failure


class HiddenAddress:
    """A signed address: whoever has it can read or write the file, so it is hidden like a key.

    The longer values of its query are hidden as well: stores repeat them in what they answer.
    """

    def __init__(self, address: str) -> None:
        values = [pair.partition("=")[2] for pair in address.partition("?")[2].partition("#")[0].split("&")]
        forms = {address, *values, *map(unquote, values)}
        with contextlib.suppress(httpx.InvalidURL):
            url = httpx.URL(address)
            forms |= {str(url), url.raw_path.decode("ascii", "replace")}
        self._forms = sorted((form.encode() for form in forms if len(form) >= SECRET), key=len, reverse=True)

    def scrub(self, text: bytes) -> bytes:
        """Replace the address in a text."""
        for form in self._forms:
            text = text.replace(form, b"[address]")
        return text


@contextlib.contextmanager
def address_hidden(request: Request) -> Iterator[None]:
    """Keep the address of a request, if it has one of its own, out of the logs of httpx."""
    hidden = None if request.address is None else HiddenAddress(request.address)
    if hidden is not None:
        hide_in_logs(hidden)
    yield
    del hidden


class ListenerFailed(Exception):
    """Wraps an error of a listener, so that it isn't taken for an error of the connection."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def notify(listener: Listener, news: News) -> None:
    """Pass news to a listener while a request is being sent."""
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
    """A request's encoded body. JSON is one `head`; a form is a `head`, a `file` and a `tail`; or it is a `file`."""

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
        if request.content is not None:
            file = replace(request.content, length=_length(request.content))
            return cls({"content-length": str(file.length)}, file=file)
        if request.json is not None:
            content = _as_json(request.json)
            return cls({"content-type": "application/json", "content-length": str(len(content))}, content)
        if request.method == "POST":
            return cls({"content-type": "application/json", "content-length": "0"})
        return cls({})

    @classmethod
    def _of_form(cls, form: Form) -> Body:
        boundary = os.urandom(16).hex()
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        fields = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in form.fields]
        end = f"--{boundary}--\r\n"
        if form.file is None:
            head = ("".join(fields) + end).encode()
            return cls(kind | {"content-length": str(len(head))}, head)
        file = replace(form.file, length=_length(form.file))  # what is appended to the file later isn't sent
        name = file.filename.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})
        disposition = f'Content-Disposition: form-data; name="{file.field}"; filename="{name}"'
        fields.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n")
        head, tail = "".join(fields).encode(), f"\r\n{end}".encode()
        length = len(head) + (file.length or 0) + len(tail)
        return cls(kind | {"content-length": str(length)}, head, file, tail)

    def chunks(self) -> Iterator[tuple[bytes, int]]:
        """Give the body in pieces, each with the number of the file's bytes in it. This reads the file."""
        self._pieces = self._cut()
        return self._pieces

    def close(self) -> None:
        """Close the file."""
        if self._pieces is not None:
            with contextlib.suppress(ValueError):  # the thread of a cancelled task still reads; it closes the file
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
        """The news of how much of the whole file was sent."""
        assert self.file is not None
        return progress.Sent(self.file.offset + sent, self.file.whole or 0)


def _as_json(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the request can't be encoded as JSON: {error}") from None


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
        raise InvalidInput(f"can't read {path_shown(part.source)}: {error.strerror}") from None


def _file_chunks(part: FilePart) -> Iterator[bytes]:
    """Read exactly the number of bytes that the header `content-length` has promised."""
    left = part.length or 0
    if isinstance(part.source, bytes):
        end = part.offset + left
        for start in range(part.offset, end, CHUNK):
            yield part.source[start : min(start + CHUNK, end)]
        return
    source = part.source
    name = source.name if isinstance(source, Source) else path_shown(source)
    try:
        with source.open() if isinstance(source, Source) else source.open("rb", buffering=0) as file:
            file.seek(part.offset)
            while left:
                chunk = file.read(min(CHUNK, left))
                left -= len(chunk)
                # the last piece of a changed file is never sent, so the service never has all of it
                if not chunk or (not left and _was_written(source, file.fileno())):
                    raise InvalidInput(f"{name} changed while it was being uploaded", hint=WHEN_COMPLETE)
                yield chunk
    except OSError as error:
        raise InvalidInput(f"can't read {name}: {error.strerror}") from None


def _was_written(source: Source | Path, descriptor: int) -> bool:
    """Whether a file has changed since it was read."""
    if not isinstance(source, Source) or source.modified_ns is None:
        return False
    found = os.fstat(descriptor)
    return (found.st_size, found.st_mtime_ns) != (source.size, source.modified_ns)


class ReplyReader:
    """Collects a reply's pieces, decompresses them, and refuses a reply that is too large."""

    def __init__(self, wire: Wire, request: Request, status: int, headers: Mapping[str, str]) -> None:
        self._limit = request.reply_limit
        self._scrub = bytes if request.verbatim else partial(wire.scrubbed, request)
        self._status = status
        self._headers = {name.lower(): wire.scrub(value.encode()).decode() for name, value in headers.items()}
        self._parts: list[bytes] = []
        self._empty = True
        self._size = 0
        encoding = self._headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity", "gzip", "deflate"):
            raise self._bad(f"unknown content-encoding {encoding[:40]!r}")
        self._unzip: Any = zlib.decompressobj(wbits=47) if encoding in ("gzip", "deflate") else None
        declared = self._headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and len(declared) < 20 and int(declared) > self._limit:
            raise self._bad(f"larger than {self._limit:,} bytes")

    def take(self, piece: bytes) -> None:
        """Add the next raw piece."""
        for part in [piece] if self._unzip is None else self._unzipped(piece):
            self._size += len(part)
            if self._size > self._limit:
                raise self._bad(f"larger than {self._limit:,} bytes")
            self._parts.append(part)

    def _unzipped(self, piece: bytes) -> Iterator[bytes]:
        """Decompress in small parts, since a kilobyte can become a megabyte."""
        self._empty = self._empty and not piece
        while piece:
            if self._unzip.eof:  # zlib would keep all that follows in memory
                raise self._bad("data after the end of the compressed content")
            try:
                yield self._unzip.decompress(piece, CHUNK)
            except zlib.error as error:
                raise self._bad(f"the compressed content is broken: {error}") from None
            piece = self._unzip.unconsumed_tail

    def response(self) -> Response:
        """Give the whole reply."""
        if self._unzip is not None and not self._unzip.eof and not self._empty:
            raise self._bad("the compressed content is cut short")
        return Response(self._status, self._headers, self._scrub(b"".join(self._parts)))

    def _bad(self, why: str) -> TunewayError:
        return BadReply(f"unusable reply: {why}", status=self._status, request_id=self._headers.get("x-request-id"))
