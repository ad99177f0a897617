"""Open data that lies elsewhere: web addresses, object stores by fsspec, and paths of other libraries."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from tuneway._escape import one_line
from tuneway._hiding import hide_in_logs
from tuneway.data._local import changed
from tuneway.errors import InvalidInput, InvalidSpec

ZIPPED = ".gz"
"""The end of the names of compressed files, also in capitals."""

_BLOCK = 2**20
_TIMEOUT = 60.0
_AS_IT_IS = {"accept-encoding": "identity"}
_IN_URL = re.compile(rb"(://)(?:[^/\s\"'@?]*@)?([^\s\"'?]*)(?:\?[^\s\"']*)?")
_QUERY = re.compile(r"[?#]")
_HOST = re.compile(r"[^:]*(:\d*)?")
_IPV6 = re.compile(r"\[[^\]]*\]")
_SLIP = re.compile(r"([A-Za-z][\w+.-]*(?::/|//|:(?=[^/\\])))([^@]*:[^@]*@.*)", re.DOTALL)
"""Nearly a URL, with a password in it."""
_JOINED = re.compile(r"::(?=[\w+]+(?:::|://))")  # an address of IPv6 has `::` too
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}


class Opened(NamedTuple):
    """A file in a store, open for reading; `size` is None where the store doesn't say."""

    file: BinaryIO
    size: int | None


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path, as a drive letter's is."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and len(scheme) > 1 and scheme.replace("+", "").replace("::", "").isalnum()


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password and query. fsspec joins several by `::`."""
    return "::".join(map(_shown_alone, _JOINED.split(url)))


def _shown_alone(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    if not mark:  # a cache, such as `simplecache`; or a URL with a slip of the pen
        slip = _SLIP.match(url)
        return f"{slip[1]}{_without_user(slip[2])}" if slip else url
    return f"{scheme.lower()}://{_without_user(rest)}"


def _without_user(rest: str) -> str:
    """What follows a URL's scheme, without user, password, query and fragment.

    A password may have characters that it should not have: a slash, a question mark, a hash, an `@`. Where it isn't
    clear what is the password, too much is left out and not too little.
    """
    path = _QUERY.split(rest, maxsplit=1)[0]
    host = _IPV6.sub("", path.partition("/")[0])
    user = host.rpartition("@")[0]
    if user and ":" not in user:
        return path.partition("@")[2] if host.count("@") == 1 else path.rpartition("@")[2]
    if ":" in host and "@" in path:
        return path.rpartition("@")[2]
    if not _HOST.fullmatch(host) and "@" in rest:
        return _QUERY.split(rest.rpartition("@")[2], maxsplit=1)[0]
    return path


def check_address(text: str) -> None:
    """Refuse a text that is meant as a URL and can't be read as one.

    Raises:
        ValueError: It can't be read. The text of the error has no password.
    """
    try:
        parts = urlsplit(text) if is_url(text) else None
    except ValueError:
        raise ValueError(f"{shown(text)} is no address: its host can't be read") from None
    if parts is None and _SLIP.match(text):
        raise ValueError(f"{shown(text)} is no address: a URL begins with a scheme and ://")


def suffix_of(source: str) -> str:
    """The suffix of a path or URL, in lower case: ".csv"."""
    return f".{source.rpartition('.')[2].lower()}"


def without_gz(source: str) -> str:
    """The name of what a compressed file contains."""
    return source[: -len(ZIPPED)] if source.lower().endswith(ZIPPED) else source


def stem_of(source: str) -> str:
    """The name of the file that a path or URL ends in, without its suffix."""
    base = without_gz(source.replace("\\", "/").rpartition("/")[2])
    return base.rpartition(".")[0] or base


def local_path(url: str) -> Path | None:
    """The path of a `file://` URL; None for others."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    return Path(unquote(parts.path))


def open_url(url: str, *, field: str) -> AbstractContextManager[Opened]:
    """Open what a URL names. An error says who refused, without the credentials in the URL."""
    return (_open_web if urlsplit(url).scheme.lower() in ("http", "https") else _open_store)(url, field)


@contextmanager
def open_elsewhere(path: Any, *, field: str) -> Iterator[Opened]:
    """Open a path of another library that opens itself, such as Airflow's `ObjectStoragePath` or `UPath`."""
    name = shown(str(path))
    with ExitStack() as stack:
        try:
            with _told(name, field):
                before = path.stat()
                size = getattr(before, "st_size", None)
                file = stack.enter_context(path.open("rb"))
        except InvalidInput:
            raise
        except (ValueError, ImportError) as error:  # the library for this store isn't there
            raise InvalidSpec(f"{name} can't be opened: {one_line(error)}", field=field) from None
        yield Opened(cast("BinaryIO", _Named(file, name, field, size)), size)
        with _told(name, field):
            after = path.stat()
        if any(getattr(after, one, None) != getattr(before, one, None) for one in ("st_size", "st_mtime")):
            raise changed(name, field)


def unzipped(opened: Opened, name: str, *, field: str) -> Opened:
    """The content of a file that is compressed by gzip; other files as they are."""
    if without_gz(name) == name:
        return opened
    return Opened(cast("BinaryIO", _Named(gzip.GzipFile(fileobj=opened.file), name, field, None)), None)


def reader_of(file: BinaryIO) -> io.BufferedReader:
    """Buffer a file that is read line by line."""
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file, 2**20)  # type: ignore[arg-type]


@contextmanager
def _open_web(url: str, field: str) -> Iterator[Opened]:
    import httpx

    name = shown(url)
    secrets = _UrlSecrets()
    hide_in_logs(secrets)  # as long as `secrets` lives
    with ExitStack() as stack:
        with _told(name, field):
            reply = stack.enter_context(
                httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT, headers=_AS_IT_IS)
            )
        if reply.status_code != 200:
            raise unreadable(name, f"it answered {reply.status_code} {reply.reason_phrase}", field)
        length = reply.headers.get("content-length", "")
        size = int(length) if length.isdigit() and "content-encoding" not in reply.headers else None
        # some servers say of a compressed file that its transfer is compressed
        pieces = reply.iter_bytes(_BLOCK) if without_gz(name) == name else reply.iter_raw(_BLOCK)
        file = io.BufferedReader(cast("io.RawIOBase", _Pieces(pieces)), _BLOCK)
        yield Opened(cast("BinaryIO", _Named(file, name, field, size)), size)


@contextmanager
def _open_store(url: str, field: str) -> Iterator[Opened]:
    name = shown(url)
    system, path = _system_of(url, field)
    with ExitStack() as stack:
        with _told(name, field):
            about = system.info(path)
            if about is None:  # so says s3fs of names that no bucket can have
                raise FileNotFoundError(path)
            if about.get("type") == "directory":
                raise unreadable(name, "it is a folder", field)
            size = about.get("size")
            file = stack.enter_context(system.open(path, "rb", block_size=4 * _BLOCK))
        yield Opened(cast("BinaryIO", _Named(file, name, field, size)), size)
        with _told(name, field):
            after = system.info(path)
        if _stamp(after) != _stamp(about):
            raise changed(name, field)


def _stamp(about: Any) -> list[object]:
    """What tells whether an object of a store was replaced: each store has a few of these."""
    return [about.get(name) for name in _VERSIONS]


def version_of_url(url: str, *, field: str) -> str | None:
    """The word by which a store or a web server tells a file's versions apart.

    It is None if there is no such file, and empty if nothing is said of it without reading the file.
    """
    if urlsplit(url).scheme.lower() in ("http", "https"):
        return _version_in_web(url, field)
    system, path = _system_of(url, field)
    try:
        with _told(shown(url), field):
            system.invalidate_cache()
            word = str(system.ukey(path)) if system.exists(path) else None
    except NotImplementedError:
        return ""
    return None if word is None else hashlib.sha256(word.encode()).hexdigest()


def _version_in_web(url: str, field: str) -> str | None:
    import httpx

    secrets = _UrlSecrets()
    hide_in_logs(secrets)  # as long as `secrets` lives
    with _told(shown(url), field):
        reply = httpx.head(url, follow_redirects=True, timeout=_TIMEOUT)
    if reply.status_code in (404, 410):
        return None
    said = reply.headers
    word = said.get("etag") or " ".join(filter(None, (said.get("last-modified"), said.get("content-length"))))
    known = reply.status_code == 200 and ("etag" in said or "last-modified" in said)
    return hashlib.sha256(word.encode()).hexdigest() if known else ""


def write_url(url: str, content: bytes, *, field: str) -> None:
    """Write an object of a store, whole. An error says who refused, without the credentials in the URL."""
    name = shown(url)
    if urlsplit(url).scheme.lower() in ("http", "https"):
        raise InvalidSpec(f"{name} can't be written: it is a web address", field=field, hint="Give a path or a store.")
    system, path = _system_of(url, field, to="written")
    with _told(name, field, to="written"):
        system.pipe_file(path, content)


def write_elsewhere(path: Any, content: bytes, *, field: str) -> None:
    """Write a path of another library that opens itself."""
    name = shown(str(path))
    try:
        with _told(name, field, to="written"), path.open("wb") as file:
            file.write(content)
    except InvalidInput:
        raise
    except (ValueError, ImportError) as error:  # the library for this store isn't there
        raise InvalidSpec(f"{name} can't be opened: {one_line(error)}", field=field) from None


def _system_of(url: str, field: str, *, to: str = "read") -> tuple[Any, str]:
    """The store of a URL, and the path in it."""
    name, scheme = shown(url), urlsplit(url).scheme.lower()
    try:
        import fsspec
        from fsspec.registry import known_implementations, registry
    except ImportError:
        raise _missing(name, "fsspec", field) from None
    try:
        with _told(name, field, to=to):
            system, path = fsspec.core.url_to_fs(f"{scheme}{url[len(scheme) :]}")
    except InvalidInput:
        raise
    except ImportError as error:
        raise _missing(name, _PACKAGES.get(scheme), field, hint=one_line(error)) from None
    except ValueError as error:
        if scheme in {*registry, *known_implementations}:
            reason = f"its store refused the settings by a {type(error).__name__}"
            raise unreadable(name, reason, field, to=to) from None
        known = ", ".join(sorted({"file", "https", *_PACKAGES}))
        raise InvalidSpec(f"{field}: no store is known for {name}", field=field, hint=f"Known are {known}.") from None
    return system, path


class _UrlSecrets:
    """Hides users, passwords and queries of URLs, those of redirects too: a signed URL is a secret."""

    def scrub(self, text: bytes) -> bytes:
        return _IN_URL.sub(rb"\1\2", text)


class _Pieces(io.RawIOBase):
    """A file made of the pieces of a reply."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        taken = self._rest[: len(buffer)]
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


class _Named:
    """A file whose errors name it, and which must not end before its size."""

    def __init__(self, file: Any, name: str, field: str, size: int | None) -> None:
        self._file = file
        self._name = name
        self._field = field
        self._size = size
        self._read = 0
        self._whole = True

    def read(self, size: int = -1) -> bytes:
        with _told(self._name, self._field, done=self._read):
            block = cast("bytes", self._file.read(size))
        self._read += len(block)
        if not block and size and self._whole and self._size is not None and self._read < self._size:
            raise InvalidInput(
                f"{self._name} ended early: {self._read:,} of {self._size:,} bytes arrived",
                hint="Nothing was sent. Try again.",
            )
        return block

    def seek(self, *args: Any) -> int:
        self._whole = False  # read in parts, as Parquet is
        return cast("int", self._file.seek(*args))

    def readinto(self, buffer: Any) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _told(name: str, field: str, *, to: str = "read", done: int | None = None) -> Iterator[None]:
    """Turn the errors of stores into one that says who refused. Their texts may have credentials in them.

    Args:
        name: What is opened, as it may be shown.
        field: The name of the argument.
        to: What is to be done with it.
        done: How many bytes were read before; None where nothing is read yet.
    """
    try:
        yield
    except (InvalidInput, GeneratorExit):
        raise
    except FileNotFoundError:
        missing = "there is no such file" if to == "read" else "there is no such place"
        raise unreadable(name, missing, field, to=to) from None
    except PermissionError:
        raise unreadable(name, "the store refused these credentials", field, to=to) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        reason = "what is compressed in it is damaged, or not whole"
        raise unreadable(name, reason, field, hint="Write the file again.") from None
    except Exception as error:
        if not (isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _FOREIGN):
            raise
        reason = _system_error(error) or type(error).__name__
        if done is not None:
            reason, hint = f"it broke off after {done:,} bytes: {reason}", "Nothing was sent. Try again."
            raise unreadable(name, reason, field, hint=hint) from None
        raise unreadable(name, reason, field, to=to) from None


_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "created", "size")

_FOREIGN = {
    "httpx",
    "httpcore",
    "botocore",
    "aiobotocore",
    "aiohttp",
    "s3fs",
    "gcsfs",
    "adlfs",
    "azure",
    "google",
    "fsspec",
}


def _system_error(error: BaseException | None) -> str | None:
    """What the operating system said, such as "Connection refused": libraries hide it behind errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    return None


def unreadable(
    name: str, reason: str, field: str, *, to: str = "read", hint: str = "Check the address and your permissions."
) -> InvalidSpec:
    """The error for a file that can't be read, or written."""
    return InvalidSpec(f"{name} can't be {to}: {reason}", field=field, hint=hint)


def _missing(name: str, package: str | None, field: str, *, hint: str = "") -> InvalidSpec:
    """The error for a store without its package. `hint` is what fsspec says of a store whose package we don't know."""
    if package is None:
        return InvalidSpec(f"{field}: {name} needs a package that isn't installed", field=field, hint=f"{hint}.")
    return InvalidSpec(
        f"{field}: {name} needs the package {package}",
        field=field,
        hint=f"Install it: pip install 'tuneway[stores]'{'' if package == 'fsspec' else f' {package}'}.",
    )
