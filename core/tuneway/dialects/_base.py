"""What a dialect is, and how the right one is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tuneway.calls import Request
from tuneway.errors import InvalidSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A service's wire, where it differs from others.

    Args:
        name: What users call it: `dialect="azure"`.
        speaks: Whether a service on this host speaks it.
        suits: Whether it is the variant for this address and this API version, given that it is spoken.
        root: The address that paths are put behind, from what the user gave.
        path: The path of a request, where it isn't OpenAI's.
        key_header: The header that carries the key.
        key_format: How it carries it.
        key_variables: Environment variables that may hold the key, first come first served.
        version_parameter: The query parameter that names the API version, if there is one.
        file_limit: Bytes that one file request may carry.
        part_size: Bytes of one part of a larger file.
    """

    name: str
    speaks: Callable[[str], bool]
    suits: Callable[[str, str | None], bool] = lambda _base_url, _api_version: True
    root: Callable[[str], str] = str
    path: Callable[[Request], str] = lambda request: request.path
    key_header: str = "authorization"
    key_format: str = "Bearer {}"
    key_variables: tuple[str, ...] = ("OPENAI_API_KEY",)
    version_parameter: str | None = None
    file_limit: int = 512 * 1024 * 1024
    part_size: int = 64 * 1024 * 1024


def guess(dialects: Iterable[Dialect], base_url: str, api_version: str | None) -> Dialect:
    """The first dialect that a service at this address speaks."""
    host = (urlsplit(base_url).hostname or "").lower()
    return next(dialect for dialect in dialects if dialect.speaks(host) and dialect.suits(base_url, api_version))


def named(dialects: Iterable[Dialect], name: str, base_url: str, api_version: str | None) -> Dialect:
    """The variant of the dialect of this name that suits the address and the API version."""
    known = list(dialects)
    for dialect in known:
        if dialect.name == name and dialect.suits(base_url, api_version):
            return dialect
    names = ", ".join(sorted({dialect.name for dialect in known}))
    raise InvalidSpec(f"no dialect is called {name!r}; known: {names}", field="dialect")
