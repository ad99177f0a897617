"""Requests in OpenAI's terms, as Together's: one for one, but for the create, which asks for the limits first."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tuneway._escape import one_line
from tuneway.calls import Call, Request, Response, refusal, segment
from tuneway.dialects.together import _create as creating
from tuneway.dialects.together import _jobs as reading
from tuneway.errors import BadReply, BadRequest, TunewayError
from tuneway.flows import Account, Flow, Quote, now, request, send
from tuneway.models import JobSpec

JOBS = "/fine-tunes"
LIMITS = f"{JOBS}/models/limits"
PRICE = f"{JOBS}/estimate-price"

T = TypeVar("T")
Act = Callable[[Request, str], Flow[Response]]


class TogetherExchange:
    """Sends requests in OpenAI's terms to Together, and gives its replies in OpenAI's JSON."""

    def __init__(self, wandb_key: str | None = None) -> None:
        self._wandb_key = wandb_key
        job = r"/fine_tuning/jobs/([^/]+)"
        routes: dict[tuple[str, str], Act] = {
            ("POST", r"/fine_tuning/jobs()"): self._create,
            ("GET", r"/fine_tuning/jobs()"): self._list,
            ("GET", job): self._retrieve,
            ("POST", rf"{job}/cancel"): self._cancel,
            ("GET", rf"{job}/events"): self._events,
            ("GET", rf"{job}/checkpoints"): self._checkpoints,
            ("GET", rf"/files/{reading.METRICS}([^/]+)/content"): self._metrics,
            ("GET", r"/files()"): self._files,
            ("GET", r"/files/([^/]+)"): self._file,
            ("POST", r"/files/([^/]+)/preprocess"): self._file,
            ("GET", r"/models()"): self._models,
            ("GET", r"/models/(.+)"): self._model,
        }
        self._routes = [(method, re.compile(path), act) for (method, path), act in routes.items()]

    def __call__(self, request: Request) -> Flow[Response]:
        """Send a request, and give the reply."""
        for method, path, act in self._routes if request.address is None else ():
            found = path.fullmatch(request.path)
            if found and method == request.method:
                return (yield from act(request, found[1]))
        return (yield from send(request))

    def quote(self, account: Account, spec: JobSpec) -> Flow[Quote]:
        """The service's own price for a job. Asking costs nothing."""
        given = spec.to_wire()
        limits = yield from request(account, _limits_of(given))
        asked = creating.price_body(creating.create_body(given, limits))
        raw = yield from request(account, Call(Request("POST", PRICE, json=asked), _object))
        price = raw.get("estimated_total_price")
        if not raw.get("estimation_available") or isinstance(price, bool) or not isinstance(price, int | float):
            return Quote(usd=None, why=_reason(raw))
        limit = raw.get("user_limit")
        refused = f"the account's limit is ${limit}" if raw.get("allowed_to_proceed") is False else None
        return Quote(usd=float(price), why=refused)

    def _create(self, request: Request, _: str) -> Flow[Response]:
        """Create a job. The limits of its model are asked for first: they cost nothing."""
        given = request.json or {}
        limits = yield from _before_create(_limits_of(given))
        body = creating.create_body(given, limits, wandb_key=self._wandb_key)
        response = yield from send(Request("POST", JOBS, json=body, headers=request.headers, repeatable=False))
        response = _with(response, _scrubbed(response.content, body))
        moment = yield from now()
        return rewritten(response, lambda raw: reading.as_job(raw, moment))

    def _list(self, _request: Request, _: str) -> Flow[Response]:
        response = yield from send(Request("GET", JOBS))
        moment = yield from now()

        def jobs(raw: Any) -> dict[str, Any]:
            found = [reading.as_job(job, moment) for job in _data(raw)]
            return page(sorted(found, key=lambda job: job["created_at"] or 0.0, reverse=True))

        return rewritten(response, jobs)

    def _retrieve(self, _request: Request, job_id: str) -> Flow[Response]:
        """Get one job. The reason of a failure stands in its log only."""
        response = yield from send(Request("GET", f"{JOBS}/{job_id}"))
        raw = _object(response)
        error = reading.error_in(raw.get("events"))
        if raw.get("status") in ("error", "user_error") and error is None:
            log = yield from send(Request("GET", f"{JOBS}/{job_id}/events"))
            error = reading.error_in(_object(log).get("data"))
        moment = yield from now()
        return rewritten(response, lambda job: reading.as_job(job, moment, error))

    def _cancel(self, _request: Request, job_id: str) -> Flow[Response]:
        response = yield from send(Request("POST", f"{JOBS}/{job_id}/cancel"))
        moment = yield from now()
        return rewritten(response, lambda raw: reading.as_job(raw, moment))

    def _events(self, _request: Request, job_id: str) -> Flow[Response]:
        response = yield from send(Request("GET", f"{JOBS}/{job_id}/events"))
        return rewritten(response, lambda raw: page(reading.as_events(job_id, _data(raw))))

    def _checkpoints(self, _request: Request, job_id: str) -> Flow[Response]:
        response = yield from send(Request("GET", f"{JOBS}/{job_id}/checkpoints"))
        return rewritten(response, lambda raw: page(reading.as_checkpoints(job_id, _data(raw))))

    def _metrics(self, _request: Request, job_id: str) -> Flow[Response]:
        """A result file, made of the job's metrics."""
        response = yield from send(Request("GET", f"{JOBS}/{job_id}/metrics"))
        raw = _object(response).get("metrics")
        if not 200 <= response.status < 300 or not isinstance(raw, list | None):
            return response
        return _with(response, reading.as_result_file(row for row in raw or () if isinstance(row, Mapping)))

    def _files(self, request: Request, _: str) -> Flow[Response]:
        response = yield from send(Request("GET", "/files"))

        def files(raw: Any) -> dict[str, Any]:
            found = [reading.as_file(file) for file in _data(raw)]
            wanted = dict(request.query).get("purpose")
            found = [file for file in found if wanted in (None, file.get("purpose"))]
            return page(sorted(found, key=lambda file: file.get("created_at") or 0, reverse=True))

        return rewritten(response, files)

    def _file(self, request: Request, _: str) -> Flow[Response]:
        response = yield from send(request)
        return rewritten(response, reading.as_file)

    def _models(self, _request: Request, _: str) -> Flow[Response]:
        response = yield from send(Request("GET", "/models"))
        return rewritten(response, lambda raw: {"object": "list", "data": _listed(raw)})

    def _model(self, _request: Request, name: str) -> Flow[Response]:
        """Get one model: the service has only the list."""
        response = yield from send(Request("GET", "/models"))
        found = [model for model in _listed(_json(response)) if _quoted(model.get("id")) == name]
        if not 200 <= response.status < 300 or found:
            return rewritten(response, lambda _: found[0])
        return Response(404, response.headers, b'{"error": {"message": "no such model"}}')


def rewritten(response: Response, convert: Callable[[Any], Any]) -> Response:
    """A reply with its JSON converted. A refusal, and what can't be read, stays as it is: it isn't taken for a job."""
    if not 200 <= response.status < 300:
        return response
    try:
        return _with(response, json.dumps(convert(json.loads(response.content))).encode())
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        return response


def page(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list as one page: the service lists everything at once."""
    return {"object": "list", "data": items, "has_more": False}


def _data(raw: Any) -> list[Any]:
    """The items of a list. What isn't one must not count as an empty one."""
    items = raw["data"]
    if not isinstance(items, list):
        raise TypeError("not a list")
    return items


def _with(response: Response, content: bytes) -> Response:
    return Response(response.status, response.headers, content)


def _scrubbed(content: bytes, body: Mapping[str, Any]) -> bytes:
    """A reply to a create without the keys of other services that the create had: a refusal may quote them."""
    for name in ("wandb_key", "hf_api_token"):
        key = body.get(name)
        if isinstance(key, str) and key:
            content = content.replace(key.encode(), b"[key]")
    return content


def _json(response: Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _object(response: Response) -> dict[str, Any]:
    raw = _json(response)
    return raw if isinstance(raw, dict) else {}


def _listed(raw: Any) -> list[dict[str, Any]]:
    """The models of a list, which is bare or has an envelope."""
    items: Iterable[Any] = raw.get("data", ()) if isinstance(raw, dict) else raw or ()
    return [item for item in items if isinstance(item, dict)]


def _quoted(name: object) -> str | None:
    return segment(name) if isinstance(name, str) and name else None


def _limits_of(given: Mapping[str, Any]) -> Call[dict[str, Any]]:
    asked = Request("GET", LIMITS, query=(("model_name", creating.limited_by(given)),))
    return Call(asked, _read_limits)


def _read_limits(response: Response) -> dict[str, Any]:
    """The limits of a model. One that can't be tuned has a message instead, whatever the status.

    Those of a type of training that the model doesn't have, or that can't be read, are None.
    """
    limits = _object(response)
    types = {name: limits.get(name) if _are_limits(limits.get(name)) else None for name in creating.TYPES}
    if any(types.values()):
        return limits | types
    known: dict[str, Any] = {"status": response.status, "request_id": response.request_id}
    reason = limits.get("message")
    if isinstance(reason, str) and reason:
        raise BadRequest(one_line(reason, 300), param="model", **known)
    raise BadReply("together gave no limits for the model", **known)


def _are_limits(raw: object) -> bool:
    return isinstance(raw, Mapping) and all(isinstance(raw.get(name), int) for name in creating.LARGEST)


def _before_create(call: Call[T]) -> Flow[T]:
    """Get what has to be known before a create is sent: if this fails, no job was created."""
    try:
        response = yield from send(call.request)
        failure = refusal(response, (yield from now()))
        if failure is not None:
            raise failure
        return call.parse(response)
    except TunewayError as error:
        error.processed = False
        raise


def _reason(raw: Mapping[str, Any]) -> str | None:
    reason = raw.get("unavailable_reason")
    return one_line(reason.replace("_", " "), 100) if isinstance(reason, str) else None
