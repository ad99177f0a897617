"""Error replies, as the API has them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import errno
import logging
import sqlite3
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from tuneway_service.sqlite_errors import DAMAGED_HINT, is_damage, is_locked
from tuneway_service.states import WrongState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

TYPES = {401: "invalid_request_error", 403: "invalid_request_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """A request is refused; raised by handlers, sent as an error reply."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        """The error reply."""
        return JSONResponse(self.content(), self.status, self.headers)

    def content(self) -> dict[str, Any]:
        """The body of the error reply."""
        kind = "server_error" if self.status >= 500 else TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def not_found(kind: str, name: str, *, param: str | None = None) -> Refusal:
    """404 for a thing that doesn't exist."""
    return Refusal(f"No such {kind}: {name[:200]}", status=404, param=param, code=f"{kind}_not_found")


def model_died() -> Refusal:
    """500 for an answer whose process ended while it was written."""
    return Refusal("The model's process ended; the service's log has the details.", status=500, code="model_error")


async def on_refusal(_: Request, error: Exception) -> Response:
    """Reply to a request that a handler refused."""
    assert isinstance(error, Refusal)
    return error.response()


async def on_wrong_state(_: Request, error: Exception) -> Response:
    """Reply to a request that the job's status doesn't allow."""
    assert isinstance(error, WrongState)
    return Refusal(str(error), code="invalid_job_status").response()


async def on_http(request: Request, error: Exception) -> Response:
    """Reply to a request for an unknown path, or with an unknown method."""
    assert isinstance(error, HTTPException)
    status, path = error.status_code, request.scope["path"]
    if status == 405 and not (is_api(path) or wants_page(request.headers)):
        status = 404  # there is a web page at this path, which means nothing to a program
    texts = {404: "Unknown request URL", 405: "Not allowed"}
    codes = {404: "unknown_url", 405: "method_not_allowed"}
    text = f"{texts[status]}: {request.method} {path}." if status in texts else error.detail
    if status == 404 and not is_api(path):
        text += " The API's paths begin with /v1, such as /v1/files: is /v1 missing from the base URL?"
    return Refusal(text, status=status, code=codes.get(status), headers=error.headers).response()


def is_api(path: str) -> bool:
    """Whether a path is one of the API, and not of the web pages."""
    return path.startswith("/v1/")


def wants_page(headers: Headers) -> bool:
    """Whether a browser asks, which wants a web page rather than JSON."""
    return "text/html" in headers.get("accept", "")


async def on_disconnect(_: Request, __: Exception) -> Response:
    """End a request whose client hung up while it was sending the body. The reply is for the log: nobody reads it."""
    return Refusal("The body of the request is cut short.", code="incomplete_body").response()


async def on_storage(_: Request, error: Exception) -> Response:
    """Reply when the disk or the database fails; the message helps whoever runs the service."""
    log.error("storage failed", exc_info=error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "full" in str(error).lower():
        return Refusal(
            "The service's disk is full: free some space in its data directory and try again.",
            status=507,
            code="disk_full",
        ).response()
    if isinstance(error, sqlite3.Error) and is_locked(error):
        return Refusal(
            "Another program holds the service's database: try again later. Nothing was changed.",
            status=503,
            code="database_locked",
            headers={"retry-after": "5"},
        ).response()
    if isinstance(error, sqlite3.Error) and is_damage(error):
        log.error("the database is damaged: %s", DAMAGED_HINT)
    return Refusal(
        f"The service can't use its storage ({type(error).__name__}); its log has the details.",
        status=500,
        code="storage_error",
    ).response()


def handlers() -> Mapping[Any, Any]:
    """The handler for each exception."""
    return {
        Refusal: on_refusal,
        WrongState: on_wrong_state,
        HTTPException: on_http,
        ClientDisconnect: on_disconnect,
        sqlite3.Error: on_storage,
        OSError: on_storage,
    }
