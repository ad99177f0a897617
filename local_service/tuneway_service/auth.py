"""Access: the bearer token, and protection from requests that other web pages send."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, NamedTuple

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response

from tuneway_service.refusals import Refusal, wants_page
from tuneway_service.settings import is_loopback

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/healthz", "/login", "/style.css")
AUTHORITY = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?", re.ASCII | re.IGNORECASE)
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE)


class PageCookie(NamedTuple):
    """The cookie that opens the pages.

    A browser sends a cookie to every port of its host. So each service has a name and a value of its own: services on
    one host don't overwrite each other's, and the cookie of one opens no other, also where they have the same token.
    The value is derived from the token, so that no browser stores the token itself.
    """

    name: str
    value: str


def page_cookie(token: str, data_dir: Path) -> PageCookie:
    """The cookie of the service that has this data directory; the same after a restart, on whatever port."""
    place = os.fsencode(data_dir.resolve())
    value = hmac.new(token.encode(), b"tuneway page\0" + place, hashlib.sha256).hexdigest()
    return PageCookie(f"tuneway_session_{hashlib.sha256(place).hexdigest()[:12]}", value)


def host_in(authority: str) -> str | None:
    r"""The host of `host:port` as in the header Host; None if it is malformed.

    URL parsers read `evil.example\@127.0.0.1` in different ways, so nothing is accepted that isn't plain.
    """
    found = AUTHORITY.fullmatch(authority)
    if found is None or int(found[2] or 0) > 65535:
        return None
    if found[1].startswith("["):
        try:
            ipaddress.IPv6Address(found[1][1:-1])
        except ValueError:
            return None
    return found[1]


class AccessControl:
    """Middleware that refuses requests without the token, and those of other web pages.

    A browser sends requests to this machine for any web page that it shows. So requests from another origin are
    refused. Without a token and on loopback, requests for another host name are refused too: that is how DNS
    rebinding looks.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, host: str, data_dir: Path) -> None:
        self.app = app
        self.token = token
        self.cookie = None if token is None else page_cookie(token, data_dir)
        self.loopback_only = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            refusal = self._refusal(scope["path"], headers)
            if refusal is not None:
                await self._reply(headers, refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    @staticmethod
    def _reply(headers: Headers, refusal: Refusal) -> Response:
        """The refusal for programs; for people without the token, the page that asks for it."""
        if refusal.status == 401 and wants_page(headers):
            return RedirectResponse("/login", 303)
        return refusal.response()

    def _refusal(self, path: str, headers: Headers) -> Refusal | None:
        host = headers.get("host", "")
        name = host_in(host) if host else ""
        if name is None:
            return _malformed("Host", host)
        if self.token is None and self.loopback_only and not is_loopback(name):
            return Refusal(
                f"This service listens on loopback only and doesn't answer to the name {name[:100]!r}.",
                status=403,
                code="wrong_host",
            )
        origin = headers.get("origin")
        if origin is not None and (refusal := _foreign(origin, host)):
            return refusal
        if self.token is None or path in OPEN or self._known(headers):
            return None
        return Refusal(
            "Incorrect API key provided: this service was started with a token; send it as the API key.",
            status=401,
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def _known(self, headers: Headers) -> bool:
        assert self.token is not None
        assert self.cookie is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie.name)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.cookie.value.encode())


def _foreign(origin: str, host: str) -> Refusal | None:
    """The refusal of a request from another origin than this service's own pages."""
    scheme, authority = found.groups() if (found := ORIGIN.fullmatch(origin)) else ("", "")
    if origin != "null" and host_in(authority) is None:
        return _malformed("Origin", origin)
    if scheme.lower() not in ("http", "https") or authority.lower() != host.lower():
        return Refusal("Requests from other web pages are refused.", status=403, code="wrong_origin")
    return None


def _malformed(header: str, value: str) -> Refusal:
    return Refusal(f"The header {header} is malformed: {value[:100]!r}.", param=header, code="invalid_header")
