"""Access: the bearer token, and protection from requests that other web pages send."""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response

from tuneway_service.refusals import Refusal
from tuneway_service.settings import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "tuneway_session"
OPEN = ("/healthz", "/login", "/style.css")


def cookie_for(token: str) -> str:
    """The value of the pages' cookie: derived from the token, so that no browser stores the token itself."""
    return hmac.new(token.encode(), b"tuneway page", hashlib.sha256).hexdigest()


class AccessControl:
    """Middleware that refuses requests without the token, and those of other web pages.

    A browser sends requests to this machine for any web page that it shows. So requests from another origin are
    refused. Without a token and on loopback, requests for another host name are refused too: that is how DNS
    rebinding looks.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, host: str) -> None:
        self.app = app
        self.token = token
        self.loopback_only = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            refusal = self._refusal(scope["path"], Headers(scope=scope))
            if refusal is not None:
                await self._reply(scope["path"], refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    @staticmethod
    def _reply(path: str, refusal: Refusal) -> Response:
        """The refusal for programs; for people without the token, the page that asks for it."""
        if refusal.status == 401 and not path.startswith("/v1"):
            return RedirectResponse("/login", 303)
        return refusal.response()

    def _refusal(self, path: str, headers: Headers) -> Refusal | None:
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if self.token is None and self.loopback_only and not is_loopback(name):
            return Refusal(
                f"This service listens on loopback only and doesn't answer to the name {name[:100]!r}.",
                status=403,
                code="wrong_host",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return Refusal("Requests from other web pages are refused.", status=403, code="wrong_origin")
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
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), cookie_for(self.token).encode())
