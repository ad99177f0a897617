"""Requests and responses as plain data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from tuneway._escape import excerpt, one_line, path_shown, url_segment
from tuneway.errors import BadReply, InvalidSpec

T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)

MEGABYTE = 1024 * 1024
REPLY_LIMIT = 32 * MEGABYTE
CONTENT_LIMIT = 1024 * MEGABYTE

# what no service calls anything is more likely data that stands in the wrong place: it isn't sent
_ID = re.compile(r"(?![{\[])[^\ud800-\udfff]{1,2000}")


class Spooled(Protocol):
    """A temporary file that can be read several times at once."""

    def open(self) -> IO[bytes]:
        """Read it from the start."""


@dataclass(frozen=True, slots=True)
class Source:
    """Data to be sent, as it was when it was read.

    Args:
        file: Its path, or a temporary file, which nobody else can change.
        size: Its size in bytes.
        modified_ns: When the file was last written. If it has changed since, an upload of it fails.
    """

    file: Path | Spooled
    size: int
    modified_ns: int | None = None

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return path_shown(self.file) if isinstance(self.file, Path) else "the data"

    def open(self) -> IO[bytes]:
        """Open it for reading, unbuffered."""
        return self.file.open("rb", buffering=0) if isinstance(self.file, Path) else self.file.open()


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file to send, in a form or as a body: bytes, or a slice of a file on disk, which is streamed.

    `length` is the slice's. A body has no use for `field` and `filename`.
    """

    field: str
    filename: str
    source: Source | Path | bytes = dataclasses.field(repr=False)
    offset: int = 0
    length: int | None = None

    @property
    def whole(self) -> int | None:
        """The size of the whole file, for progress news."""
        return self.source.size if isinstance(self.source, Source) else self.length


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form: fields, and at most one file."""

    fields: tuple[tuple[str, str], ...]
    file: FilePart | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request in OpenAI's terms; a dialect adapts it to the service.

    Args:
        method: The HTTP method.
        path: The path below the service's base URL.
        query: The query's pairs.
        json: The body, if it is JSON.
        form: The body, if it is a form.
        headers: Headers besides the usual ones.
        repeatable: Whether sending it twice does no harm. A create isn't repeatable: it would cost twice.
        reply_limit: The largest reply to accept, in bytes.
        verbatim: Keep the reply's bytes exactly as they are, because they are a file.
        name: The id that the client chooses for what is created, where the service lets it choose. For a list, the
            beginning of the ids that are asked for.
        address: An absolute URL on another host, such as a signed one of a store. The key, organisation and project
            aren't sent there, and the URL never appears in an error or a log. `path` is its name in errors.
        content: The body, if it is the plain bytes of a file.
        answers: Statuses that aren't refusals here, such as a redirect that says where a file is to be sent.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    form: Form | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    reply_limit: int = REPLY_LIMIT
    verbatim: bool = False
    name: str | None = None
    address: str | None = field(default=None, repr=False)
    content: FilePart | None = None
    answers: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Response:
    """A reply, read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The service's id for this request, which its support asks for."""
        return self.headers.get("x-request-id")


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A request, and the function that reads its reply."""

    request: Request
    parse: Callable[[Response], T_co]


def reading(model: type[M]) -> Callable[[Response], M]:
    """Make a function that reads a reply as this model, or raises `BadReply`."""

    def parse(response: Response) -> M:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise bad_reply(response, f"not a {model.__name__}: {problem['msg']}") from None

    return parse


def bad_reply(response: Response, why: str) -> BadReply:
    """Make the error for a reply that isn't one of this API. It quotes enough to recognise a proxy's page."""
    kind = one_line(response.headers.get("content-type", "no content type"), 100)
    start = response.content[:80].decode("utf-8", "replace").replace("\n", " ")
    facts = f"({kind}, {len(response.content)} bytes, starts {start!r})"
    page = is_page(response)
    error = BadReply(
        f"the service answered with a web page, not with JSON {facts}" if page else f"unusable reply: {why} {facts}",
        status=response.status,
        request_id=response.request_id,
        hint=f"{'Is /v1 missing from base_url?' if page else 'Check base_url.'} {WHERE}",
    )
    error.page = page
    return error


WHERE = "For most services it ends in /v1. Or a proxy, or another server, answered instead of the service."


def is_page(response: Response) -> bool:
    """Whether a reply, which isn't the JSON that was expected, is a web page."""
    return "html" in response.headers.get("content-type", "").lower() or response.content.lstrip()[:1] == b"<"


def segment(identifier: object) -> str:
    """Quote an id for a path. It keeps characters that the API uses (`ft:…`), and can't leave its segment."""
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier) or not identifier.strip(". "):
        raise InvalidSpec(f"{excerpt(identifier)} is not an id", field="id")
    return url_segment(identifier, keep=":@!$&'()*+,;=")


def sendable(filename: str) -> str:
    """Replace what UTF-8 can't encode in a file name, which the system may allow."""
    return filename.encode("utf-8", "replace").decode()


def query(**parameters: str | float | None) -> tuple[tuple[str, str], ...]:
    """Build a query from the parameters that aren't None."""
    return tuple((name, str(value)) for name, value in parameters.items() if value is not None)
