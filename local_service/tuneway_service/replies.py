"""Helpers for routes: paging parameters, idempotency keys, replies."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import JSONResponse, Response

from tuneway_service.refusals import Refusal
from tuneway_service.store.database import page

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pydantic import BaseModel
    from starlette.requests import Request

    from tuneway_service.service import Service

T = TypeVar("T")

KEY_LIMIT = 255


def service_of(request: Request) -> Service:
    """The service that handles this request."""
    service: Service = request.app.state.service
    return service


async def listed(
    request: Request,
    rows: Callable[..., list[T]],
    show: Callable[[T], dict[str, Any]],
    *args: Any,
    default: int,
    most: int = 100,
    also: Collection[str] = (),
    **options: Any,
) -> Response:
    """One page of a list, by the request's `after` and `limit`; the JSON is made in a thread.

    Args:
        request: The request.
        rows: Reads the rows of the list.
        show: Makes the reply's entry of a row.
        *args: For `rows`.
        default: The limit where none is given.
        most: The highest limit.
        also: The names of the list's own parameters.
        **options: For `rows`.
    """
    refuse_unknown(request, {"after", "limit", *also})
    after, limit = request.query_params.get("after"), limit_of(request, default=default, most=most)
    read = service_of(request).database.read
    content = await read(page, rows, show, *args, after=after, limit=limit, **options)
    return Response(content, media_type="application/json")


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Refuse parameters of the query that the list doesn't have, and those that are given twice."""
    seen = set[str]()
    for name, _ in request.query_params.multi_items():
        shown = name[:100]
        if name not in known:
            raise Refusal(f"Unknown parameter: '{shown}'.", param=shown, code="unknown_parameter")
        if name in seen:
            raise Refusal(f"The parameter '{shown}' is given twice.", param=shown, code="invalid_value")
        seen.add(name)


def limit_of(request: Request, *, default: int, most: int) -> int:
    """The `limit` parameter; refused outside of its bounds."""
    text = request.query_params.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= most:
        raise Refusal(
            f"Invalid 'limit': expected an integer from 1 to {most}, got {text[:40]!r}.",
            param="limit",
            code="invalid_value",
        )
    return int(text)


def order_of(request: Request, *, words: tuple[str, str] = ("asc", "desc")) -> bool:
    """The `order` parameter: whether the newest comes first."""
    text = request.query_params.get("order", words[1])
    if text not in words:
        raise Refusal(f"Invalid 'order': expected one of {list(words)}.", param="order", code="invalid_value")
    return text == words[1]


def key_of(request: Request) -> str | None:
    """The Idempotency-Key header, if there is one."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= KEY_LIMIT:
        raise Refusal(f"An Idempotency-Key has 1 to {KEY_LIMIT} characters.", param="Idempotency-Key")
    return key


def fingerprint(request: Request, content: str) -> str:
    """A hash of method, path and content; equal for equal requests."""
    return hashlib.sha256(f"{request.method} {request.scope['path']}\n{content}".encode()).hexdigest()


def body_fingerprint(request: Request, body: BaseModel) -> str:
    """The fingerprint of a request with a JSON body; the order of fields doesn't matter."""
    content = body.model_dump(mode="json", exclude_unset=True)
    return fingerprint(request, json.dumps(content, sort_keys=True))


def created(reply: tuple[dict[str, Any], bool]) -> JSONResponse:
    """The reply to a create; a header says when it repeats the reply to an earlier request with the same key."""
    content, replayed = reply
    return JSONResponse(content, headers={"idempotent-replayed": "true"} if replayed else None)
