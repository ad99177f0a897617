"""Requests in OpenAI's terms, sent to Fireworks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from tuneway.calls import Request, Response, segment
from tuneway.calls.jobs import ROOT
from tuneway.dialects._base import json_reply
from tuneway.dialects.fireworks import _replies
from tuneway.dialects.fireworks._create import NAME, create
from tuneway.dialects.fireworks._resources import BASE_MODELS, COLLECTIONS, ID_PARAMETERS, Resources
from tuneway.errors import InvalidSpec
from tuneway.flows import Flow, send

OWN = "/v1/accounts/"
"""The beginning of the paths that are Fireworks' own already."""

CHAT = "/inference/v1/chat/completions"
LARGEST_PAGE = 200
NEWEST_FIRST = ("orderBy", "create_time desc")

_JOB = re.compile(rf"{ROOT}/([^/]+)(?:/(\w+))?")
_EMPTY = Response(200, {"content-type": "application/json"}, json.dumps(_replies.page([], None)).encode())


@dataclass(frozen=True, slots=True)
class FireworksExchange:
    """Sends a request in OpenAI's terms to one account, and gives the reply in OpenAI's JSON."""

    resources: Resources

    def __call__(self, request: Request) -> Flow[Response]:
        """Send a request."""
        if request.address is not None or request.path.startswith(OWN):
            return send(request)
        if request.path == "/chat/completions":
            return send(replace(request, path=CHAT))
        flow = self._about_jobs(request) or self._about_things(request)
        if flow is None:
            raise InvalidSpec(f"{NAME} doesn't offer {request.method} {request.path}", field="dialect")
        return flow

    def _about_jobs(self, request: Request) -> Flow[Response] | None:
        if request.path == ROOT:
            return {"POST": self._create, "GET": self._jobs}[request.method](request)
        job = _JOB.fullmatch(request.path)
        return self._job(request, unquote(job[1]), job[2]) if job else None

    def _about_things(self, request: Request) -> Flow[Response] | None:
        """Lists, files and models."""
        match request.method, request.path.split("/")[1:]:
            case "GET", ["files"]:
                return self._files(request)
            case "GET", ["models"]:
                return self._models(request)
            case "GET" | "DELETE", ["files", file]:
                return self._one(request, self.resources.dataset(unquote(file)), self._file, unquote(file))
            case "GET" | "DELETE", ["models", model]:
                name = Resources.model(unquote(model))
                return self._one(request, name, _replies.model, name)
        return None

    def _create(self, request: Request) -> Flow[Response]:
        collection, body = create(self.resources, request.json or {}, request.name)
        _, name = self.resources.job(request.name or "")
        query = ((ID_PARAMETERS[collection], name),) if name else ()
        sent = replace(request, path=f"{self.resources.root}/{collection}", query=query, json=body)
        response = yield from send(sent)
        return _translated(response, lambda theirs: _replies.job(self.resources, collection, theirs))

    def _job(self, request: Request, job_id: str, verb: str | None) -> Flow[Response]:
        method, (collection, _) = request.method, self.resources.job(job_id)
        path = self.resources.job_path(job_id)
        if (method, verb) in (("GET", "events"), ("GET", "checkpoints")):
            return _EMPTY  # Fireworks lists neither
        if (method, verb) in (("POST", "cancel"), ("POST", "resume")):
            response = yield from send(replace(request, path=f"{path}:{verb}", json={}))
            if not _is_fine(response):
                return response
        elif (method, verb) != ("GET", None):
            raise InvalidSpec(f"{NAME} can't {verb or method} a job", field=verb or "method")
        # the answer to a cancel is empty
        response = yield from send(Request("GET", path))
        return _translated(response, lambda theirs: _replies.job(self.resources, collection, theirs))

    def _jobs(self, request: Request) -> Flow[Response]:
        """List one page of jobs: of supervised ones and preference jobs in turn; of one kind if a name is given."""
        collections = [self.resources.job(request.name)[0]] if request.name else list(COLLECTIONS)
        turns = _turns(dict(request.query).get("after") or "", collections)
        while True:
            (collection, before), *others = turns
            response = yield from send(self._listing(request, collection, before))
            theirs = _read(response)
            if theirs is None:
                return response
            found = [_replies.job(self.resources, collection, one) for one in theirs.get(collection) or ()]
            token = str(theirs.get("nextPageToken") or "")
            if not token:
                turns = others
            elif token != before:  # a token that leads to the same page gives the same cursor: the list is stuck
                turns = [*others, (collection, token)]
            if found or token or not turns:
                return json_reply(response, _replies.page(found, urlencode(turns) or None))

    def _files(self, request: Request) -> Flow[Response]:
        response = yield from send(self._listing(request, "datasets", dict(request.query).get("after")))
        return _translated(
            response,
            lambda theirs: _replies.page(
                [self._file(one) for one in theirs.get("datasets") or ()], theirs.get("nextPageToken") or None
            ),
        )

    def _models(self, request: Request) -> Flow[Response]:
        """List all models: Fireworks' own, and those of the account."""
        found: list[dict[str, Any]] = []
        accounts, token = [*dict.fromkeys((BASE_MODELS, self.resources.account))], ""
        while True:
            response = yield from send(_page(request, f"{OWN}{segment(accounts[0])}/models", LARGEST_PAGE, token))
            theirs = _read(response)
            if theirs is None:
                return response
            found += (_replies.model(one) for one in theirs.get("models") or ())
            token = theirs.get("nextPageToken") or ""
            accounts = accounts if token else accounts[1:]
            if not accounts:
                return json_reply(response, _replies.page(found, None))

    def _one(
        self, request: Request, name: str, read: Callable[[Mapping[str, Any]], dict[str, Any]], its_id: str
    ) -> Flow[Response]:
        """Get or delete a file or a model."""
        response = yield from send(replace(request, path="/".join(["/v1", *map(segment, name.split("/"))])))
        if request.method == "DELETE":
            return _translated(response, lambda _theirs: {"id": its_id, "deleted": True})
        return _translated(response, read)

    def _listing(self, request: Request, collection: str, token: str | None) -> Request:
        limit = min(int(dict(request.query).get("limit", LARGEST_PAGE)), LARGEST_PAGE)
        return _page(request, f"{self.resources.root}/{collection}", limit, token)

    def _file(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        return _replies.file(self.resources, theirs)


def _turns(cursor: str, collections: Sequence[str]) -> list[tuple[str, str]]:
    """The collections to read on, the next one first, each with the token of its page; from a cursor of `_jobs`.

    The kinds take turns, so that whoever looks for the newest jobs of one kind needn't read all of the other first.
    """
    given = [(name, token) for name, token in parse_qsl(cursor, keep_blank_values=True) if name in collections]
    return given or [(name, "") for name in collections]


def _page(request: Request, path: str, size: int, token: str | None) -> Request:
    cursor = (("pageToken", token),) if token else ()
    return replace(request, path=path, query=(NEWEST_FIRST, ("pageSize", str(size)), *cursor), name=None)


def _is_fine(response: Response) -> bool:
    return 200 <= response.status < 300


def _read(response: Response) -> dict[str, Any] | None:
    """The body of a reply; None if it is a refusal, or isn't an object in JSON: then the reply stays as it is."""
    if not _is_fine(response):
        return None
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _translated(response: Response, read: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    theirs = _read(response)
    return response if theirs is None else json_reply(response, read(theirs))
