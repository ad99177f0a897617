"""Make a wire and an account from the arguments and the environment."""

from __future__ import annotations

import functools
import logging
import math
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from http.cookiejar import CookieJar
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import httpx

from tuneway import dialects
from tuneway._escape import excerpt
from tuneway.dialects import Dialect, is_local
from tuneway.drivers import TokenSource, Wire
from tuneway.errors import InvalidSpec
from tuneway.flows import LOCAL_POLL, Account, Poll, Retry

log = logging.getLogger("tuneway")

HOSTED = "https://api.openai.com/v1"
ADDRESS = "It starts with http:// or https://, and for most services ends in /v1."


ApiKey: TypeAlias = str | Callable[[], Any] | None
"""A key; or a function, which may be a coroutine function, that gives a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The arguments of a client; those that are left out come from the environment."""

    base_url: str | None
    api_key: ApiKey
    organization: str | None
    project: str | None
    timeout: float
    retry: Retry | None
    poll: Poll | Mapping[str, float] | None
    settle: float | None
    lookup_pages: int
    dialect: str | Dialect | None
    api_version: str | None
    service_options: Mapping[str, str] | None

    def resolve(self) -> tuple[Wire, Account]:
        """Find the service, its dialect and the account; an error names the bad argument."""
        base_url = _clean_url(self.base_url or os.environ.get("OPENAI_BASE_URL") or HOSTED)
        api_version = self.api_version or os.environ.get("OPENAI_API_VERSION")
        dialect = self._chosen(base_url, api_version).configured(self.service_options)
        _check("timeout", self.timeout, least=0.001, meaning="seconds that one request may take")
        _check("settle", self.settle or 0, least=0, meaning="seconds until a look is believed")
        _check("lookup_pages", self.lookup_pages, least=1, meaning="pages that a search may read")
        local = is_local(base_url)
        tokens = self._tokens(dialect)
        wire = Wire(
            base_url=dialect.root(base_url).rstrip("/"),
            dialect=dialect,
            api_key=None if tokens else self._key(dialect, needed=not local),
            tokens=tokens,
            organization=_clean_header(self.organization or os.environ.get("OPENAI_ORG_ID"), "organization"),
            project=_clean_header(self.project or os.environ.get("OPENAI_PROJECT_ID"), "project"),
            api_version=api_version,
            timeout=self.timeout,
        )
        address = urlsplit(wire.base_url)
        if (wire.api_key or tokens) and address.scheme == "http" and not local:
            log.warning("the API key goes over the network to %s in plain text: use https", address.hostname)
        return wire, self._account(dialect, local=local)

    def _tokens(self, dialect: Dialect) -> TokenSource | None:
        given = self.api_key if callable(self.api_key) else None
        if dialect.token is not None and self.api_key:
            raise InvalidSpec(
                f"api_key and the tokens that service_options ask {dialect.name} for can't both be given",
                field="api_key",
                hint="Give one of them.",
            )
        ask = given or dialect.token
        return TokenSource(ask) if ask else None

    def _key(self, dialect: Dialect, *, needed: bool) -> str | None:
        given = self.api_key if isinstance(self.api_key, str) else None
        return _clean_key(given or _first_set(dialect.key_variables), dialect, needed=needed)

    def _chosen(self, base_url: str, api_version: str | None) -> Dialect:
        if isinstance(self.dialect, Dialect):
            return self.dialect
        if self.dialect:
            return dialects.named(dialects.DIALECTS, self.dialect, base_url, api_version)
        return dialects.guess(dialects.DIALECTS, base_url, api_version)

    def _account(self, dialect: Dialect, *, local: bool) -> Account:
        return Account(
            retry=self.retry or Retry(),
            poll=schedule(self.poll, LOCAL_POLL if local else Poll()),
            settle=self.settle,
            lookup_pages=self.lookup_pages,
            file_limit=dialect.file_limit,
            part_size=dialect.part_size,
            local=local,
            service=dialect.name,
            exchange=dialect.exchange,
            files=dialect.files,
            carrier=dialect.carrier,
            offers=dialect.offers,
            quote=dialect.quote,
        )


@functools.lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """One TLS context, shared by all clients: creating it takes longer than the rest of a client."""
    return httpx.create_ssl_context()


class NoCookies(CookieJar):
    """A cookie jar that keeps nothing: the key alone identifies the account."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Ignore all cookies. They aren't parsed either: some that services send make the parser fail."""


def _clean_url(base_url: str) -> str:
    """Check and normalise an address. The error doesn't quote a bad one: it may contain a secret, or be one."""
    base_url = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(base_url)
        httpx.URL(base_url)
        _ = parts.port
    except (ValueError, httpx.InvalidURL):
        raise InvalidSpec("base_url can't be read as an address", field="base_url", hint=ADDRESS) from None
    if parts.username is not None or parts.password is not None:
        raise InvalidSpec("base_url holds a user name or password", field="base_url", hint="Use api_key for secrets.")
    odd = any(letter.isspace() or not letter.isprintable() for letter in base_url)
    if odd or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSpec("base_url is not an address", field="base_url", hint=ADDRESS)
    if parts.query or parts.fragment:
        raise InvalidSpec(
            "base_url holds a query or a fragment",
            field="base_url",
            hint="For Azure's api-version use api_version.",
        )
    return base_url


def schedule(given: Poll | Mapping[str, float] | None, default: Poll) -> Poll:
    """The schedule that was given, also as the fields that connections of engines store; else the default."""
    if not isinstance(given, Mapping):
        return given or default
    unknown = given.keys() - {field.name for field in fields(Poll)}
    if unknown:
        raise InvalidSpec(
            f"poll can't have {', '.join(sorted(map(excerpt, unknown)))}", field="poll", hint="See tuneway.Poll."
        )
    for name, value in given.items():
        _check(f"poll.{name}", value, least=0, meaning="a number")
    return Poll(**{name: int(value) if name == "tolerance" else value for name, value in given.items()})  # type: ignore[arg-type]


def _check(field: str, value: Any, *, least: float, meaning: str) -> None:
    if not (isinstance(value, int | float) and least <= value < math.inf):
        raise InvalidSpec(f"{field} can't be {excerpt(value)}: {meaning}", field=field)


def _first_set(variables: Iterable[str]) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)


def _clean_key(key: str | None, dialect: Dialect, *, needed: bool) -> str | None:
    key = (key or "").strip()
    if not key and needed:
        raise InvalidSpec(
            "no API key",
            field="api_key",
            hint=f"Pass api_key, or set {dialect.key_variables[0]}. A service on this machine needs none.",
        )
    return _clean_header(key, "api_key")


def _clean_header(value: str | None, field: str) -> str | None:
    value = (value or "").strip()
    if not value.isascii() or not value.isprintable():
        raise InvalidSpec(f"{field} holds characters that no header can carry", field=field)
    return value or None
