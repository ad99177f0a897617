"""The `Dialect` class, and how a dialect is chosen."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tuneway._escape import excerpt
from tuneway.calls import Request
from tuneway.errors import InvalidSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a service differs from OpenAI's wire.

    Args:
        name: The name that users give: `dialect="azure"`.
        speaks: Whether a service on this host uses the dialect.
        suits: Whether this variant of the dialect is right for a base URL and an API version.
        root: Gives the base of all request URLs, from the base URL of the user.
        path: Gives a request's path, where it differs from OpenAI's.
        key_header: The header that has the key.
        key_format: The format of that header.
        key_variables: Environment variables for the key; the first that is set counts.
        version_parameter: The query parameter for the API version, if there is one.
        file_limit: The most bytes of a file that one request may have; larger files are sent in parts.
        part_size: The bytes of one part.
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
    """Give the first dialect that a service at this address speaks."""
    host = (urlsplit(base_url).hostname or "").lower()
    return next(dialect for dialect in dialects if dialect.speaks(host) and dialect.suits(base_url, api_version))


def named(dialects: Iterable[Dialect], name: str, base_url: str, api_version: str | None) -> Dialect:
    """Give the dialect with this name, in the variant for the address and the API version."""
    known = list(dialects)
    for dialect in known:
        if dialect.name == name and dialect.suits(base_url, api_version):
            return dialect
    names = ", ".join(sorted({dialect.name for dialect in known}))
    raise InvalidSpec(f"unknown dialect {excerpt(name)}; known: {names}", field="dialect")


def is_local(base_url: str) -> bool:
    """Whether this address is on this machine."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
