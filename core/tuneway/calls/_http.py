"""Requests and responses as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tuneway.errors import BadReply, InvalidSpec

T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)

MEGABYTE = 1024 * 1024
REPLY_LIMIT = 32 * MEGABYTE
CONTENT_LIMIT = 1024 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Source:
    """A file on disk, as it was when it was read: one that has been written since is not sent to its end."""

    path: Path
    size: int
    modified_ns: int | None = None


@dataclass(frozen=True, slots=True)
class FilePart:
    """The file of a form: a slice of a file on disk, streamed, or bytes; `length` is that of the slice."""

    field: str
    filename: str
    source: Source | Path | bytes
    offset: int = 0
    length: int | None = None

    @property
    def path(self) -> Path | None:
        """Where the file is; None for bytes."""
        source = self.source
        return source.path if isinstance(source, Source) else source if isinstance(source, Path) else None

    @property
    def whole(self) -> int | None:
        """The size of the whole file, for progress."""
        return self.source.size if isinstance(self.source, Source) else self.length


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form with one file."""

    fields: tuple[tuple[str, str], ...]
    file: FilePart


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, in OpenAI's terms; a dialect says how.

    `repeatable` says that sending it twice does no harm. A create isn't: it costs money twice. `verbatim`
    asks for the reply exactly as it is: it is a file, not a message.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    json: Mapping[str, Any] | None = None
    form: Form | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    reply_limit: int = REPLY_LIMIT
    verbatim: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def request_id(self) -> str | None:
        """The service's own name for this exchange; its support asks for it."""
        return self.headers.get("x-request-id")


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A request, and how to read its reply."""

    request: Request
    parse: Callable[[Response], T_co]


def reading(model: type[M]) -> Callable[[Response], M]:
    """Read a reply as this model; anything else is a `BadReply`."""

    def parse(response: Response) -> M:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise bad_reply(response, f"not a {model.__name__}: {problem['msg']}") from None

    return parse


def bad_reply(response: Response, why: str) -> BadReply:
    """Describe a reply that isn't this API's, with enough of it to recognise a proxy's page."""
    kind = response.headers.get("content-type", "no content type")
    start = response.content[:80].decode("utf-8", "replace").replace("\n", " ")
    return BadReply(
        f"unusable reply: {why} ({kind}, {len(response.content)} bytes, starts {start!r})",
        status=response.status,
        request_id=response.request_id,
        hint="Is base_url right? It ends in /v1 for most services. A proxy in between may answer for them.",
    )


def segment(identifier: str) -> str:
    """Put an id into a path: raw as the API wants it (`ft:…`), but never able to leave its segment."""
    try:
        if identifier.strip(". "):
            return quote(identifier, safe=":@!$&'()*+,;=")
    except (AttributeError, UnicodeEncodeError):
        pass  # not a text at all, or none that can be sent
    raise InvalidSpec(f"{identifier!r:.100} is not an id", field="id")


def sendable(filename: str) -> str:
    """A file's name without what no text can carry: the system lets names be any bytes."""
    return filename.encode("utf-8", "replace").decode()


def query(**parameters: str | float | None) -> tuple[tuple[str, str], ...]:
    """Build a query without what was left out."""
    return tuple((name, str(value)) for name, value in parameters.items() if value is not None)
