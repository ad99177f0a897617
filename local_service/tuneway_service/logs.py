"""Logs on standard error, as lines of `key=value`. They never contain a header, body, query or token."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from tuneway_service.refusals import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)
access = logging.getLogger("tuneway_service.access")

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """Formats a record as `time=… level=… event="…" key=value`; a traceback follows on its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        fields: dict[str, object] = {"time": stamp, "level": record.levelname.lower(), "event": record.getMessage()}
        fields |= {name: value for name, value in vars(record).items() if name not in PLAIN}
        line = " ".join(f"{name}={_word(value)}" for name, value in fields.items() if value is not None)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _word(value: object) -> str:
    text = str(value)
    return text if text and not set(text) & set(' "=\n\r\t') and text.isprintable() else json.dumps(text)


def set_up(level: str) -> None:
    """Set up logging to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    for name in ("tuneway", "tuneway_service", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel("WARNING" if name == "uvicorn" else level.upper())
    # it logs every form that is malformed, which is in the answer to its client
    logging.getLogger("python_multipart").setLevel("ERROR")


class AccessLog:
    """Middleware that gives each request an id and a line in the log, and replies 500 to unexpected errors."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log the result."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, began, status = f"req_{secrets.token_hex(12)}", time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
                headers["openai-processing-ms"] = str(round((time.perf_counter() - began) * 1000))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("a request failed", extra={"request_id": request_id})
            if status:
                raise
            # the details are in the log and nowhere else
            text = "The service had an error; its log has the details."
            await Refusal(text, status=500, code="internal_error").response()(scope, receive, send_with_id)
        finally:
            access.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "ms": round((time.perf_counter() - began) * 1000, 1),
                    "request_id": request_id,
                },
            )
