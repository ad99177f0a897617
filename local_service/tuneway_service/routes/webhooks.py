"""`/webhook_endpoints`: the addresses that receive events, and the deliveries to them."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tuneway_service import webhook_addresses
from tuneway_service import webhooks as sending
from tuneway_service.bodies import ChangeWebhook, CreateWebhook, RotateSecret, SendSample, parse
from tuneway_service.ids import new_id, now
from tuneway_service.refusals import Refusal
from tuneway_service.replies import listed, service_of
from tuneway_service.store import webhooks

if TYPE_CHECKING:
    from starlette.requests import Request

DAY = 24 * 3600


def _id(request: Request) -> str:
    endpoint_id: str = request.path_params["endpoint_id"]
    return endpoint_id


async def _vet(request: Request, url: str) -> None:
    """Refuse an address that nothing can or may be sent to."""
    link_local = service_of(request).settings.link_local_webhooks
    wrong = await anyio.to_thread.run_sync(partial(webhook_addresses.problem, url, link_local=link_local))
    if wrong is not None:
        raise Refusal(f"Invalid value for 'url': {wrong}.", param="url", code="invalid_value")


async def create(request: Request) -> Response:
    """`POST /webhook_endpoints`; only this reply has the secret."""
    asked = await parse(request, CreateWebhook)
    await _vet(request, asked.url)
    return JSONResponse(
        await service_of(request).database.write(
            webhooks.add, name=asked.name, url=asked.url, event_types=asked.event_types
        )
    )


async def list_(request: Request) -> Response:
    """`GET /webhook_endpoints`."""
    return await listed(request, webhooks.rows, webhooks.show, default=20)


async def retrieve(request: Request) -> Response:
    """`GET /webhook_endpoints/{id}`."""
    return JSONResponse(webhooks.show(await service_of(request).database.read(webhooks.find, _id(request))))


async def change(request: Request) -> Response:
    """`POST /webhook_endpoints/{id}`."""
    asked = (await parse(request, ChangeWebhook)).model_dump(exclude_none=True)
    if "url" in asked:
        await _vet(request, asked["url"])
    return JSONResponse(await service_of(request).database.write(webhooks.change, _id(request), **asked))


async def delete(request: Request) -> Response:
    """`DELETE /webhook_endpoints/{id}`."""
    await service_of(request).database.write(webhooks.delete, _id(request))
    return JSONResponse({"id": _id(request), "object": "webhook_endpoint.deleted", "deleted": True})


async def rotate(request: Request) -> Response:
    """`POST /webhook_endpoints/{id}/rotate_secret`."""
    asked = await parse(request, RotateSecret)
    keep = DAY if asked.keep_old_secret_active_for_24_hours else 0
    return JSONResponse(await service_of(request).database.write(webhooks.rotate, _id(request), keep_seconds=keep))


async def test(request: Request) -> Response:
    """`POST /webhook_endpoints/{id}/test`: send a sample now, and reply with the result."""
    asked = await parse(request, SendSample)
    endpoint = await service_of(request).database.read(webhooks.find, _id(request))
    event_id = new_id("evt_")
    sample = {"id": event_id, "object": "event", "created_at": now(), "type": asked.event_type}
    delivery: dict[str, Any] = dict(endpoint) | {
        "id": event_id,
        "event": json.dumps(sample | {"data": {"id": new_id("ftjob-")}}),
    }
    async with await sending.http_client(link_local=service_of(request).settings.link_local_webhooks) as client:
        status, error = await sending.attempt(client, delivery)
    if status is None:
        raise Refusal(f"The endpoint can't be reached: {error}", code="webhook_unreachable", param="url")
    return JSONResponse(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": endpoint["id"],
            "event_type": asked.event_type,
            "status_code": status,
            "success": True,
        }
    )


async def event_types(_: Request) -> Response:
    """`GET /webhook_event_types`."""
    return JSONResponse({"object": "list", "data": list(webhooks.EVENT_TYPES)})


async def deliveries(request: Request) -> Response:
    """`GET /webhook_endpoints/{id}/deliveries`, newest first."""
    return await listed(request, webhooks.delivery_rows, webhooks.show_delivery, _id(request), default=20)


ROOT = "/webhook_endpoints"
ONE = ROOT + "/{endpoint_id}"
routes = [
    Route(ROOT, create, methods=["POST"]),
    Route(ROOT, list_),
    Route("/webhook_event_types", event_types),
    Route(ONE, retrieve),
    Route(ONE, change, methods=["POST"]),
    Route(ONE, delete, methods=["DELETE"]),
    Route(ONE + "/rotate_secret", rotate, methods=["POST"]),
    Route(ONE + "/test", test, methods=["POST"]),
    Route(ONE + "/deliveries", deliveries),
]
