"""Where a scenario is played: a service that notes all that reaches it, a registry, and one runner."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from support.fault_server import Fault, FaultServer, Line, honest
from support.parity.order import GONE, Order, Outcome
from support.parity.runners import PATIENCE, Runner
from support.quick_service import QuickService
from support.service import running_service, until
from support.vendors.storage import storage_of

from tuneway import Client
from tuneway.calls import Request, Response
from tuneway.dialects import DIALECTS
from tuneway.errors import NotRegistered
from tuneway.flows import Suffix
from tuneway.registry import open_registry

FILES = "/files"
JOBS = "/fine_tuning/jobs"
ONE_JOB = JOBS + "/[^/]+"
MARKS = ("tuneway_key", "tuneway_origin")
"""What differs between runs by design; the third mark, of the content, has to be the same everywhere."""


# --- The services. ---

STATUSES = {"completed": "succeeded", "cancel_requested": "cancelled"}
"""Other services' words."""

ALIVE = ("validating_files", "running")


class Trains(QuickService):
    """Trains a job while it is waited for: it has ended, as it `will_end`, when it is looked at for the second time."""

    ends = None

    def __init__(self, *, will_end: str | None = "succeeded", **switches: Any) -> None:
        super().__init__(**switches)
        self.will_end = will_end
        self._looks: dict[str, int] = {}

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if request.method == "GET" and re.fullmatch(ONE_JOB, request.path):
            job_id = request.path.rpartition("/")[2]
            self._looks[job_id] = self._looks.get(job_id, 0) + 1
            alive = any(job["id"] == job_id and job["status"] in ALIVE for job in self.jobs)
            if self.will_end and alive and self._looks[job_id] > 1:
                self.train(job_id, self.will_end)
        return super().handle(request)


class Real:
    """The local service, behind the server that notes what reaches it."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._http = httpx.Client(base_url=base_url, trust_env=False, timeout=60)

    def handle(self, request: Request) -> Response:
        """Pass a request on."""
        form: dict[str, Any] = {}
        if request.form is not None:
            file = request.form.file
            assert file is not None
            form = {"data": dict(request.form.fields), "files": {file.field: (file.filename, file.source)}}
        elif request.json is not None:
            form = {"json": request.json}
        reply = self._http.request(request.method, request.path, params=list(request.query), **form)
        kept = {"content-type", "retry-after", "x-request-id"}
        headers = {name: value for name, value in reply.headers.items() if name in kept}
        return Response(reply.status_code, headers, reply.content)

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, oldest first."""
        jobs: list[dict[str, Any]] = self._http.get(JOBS, params={"limit": 100}).json()["data"]
        return jobs[::-1]

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


# --- The stage. ---


@dataclass
class ParityStage:
    """One scenario's service and registry, and the runner that plays it."""

    runner: Runner
    server: FaultServer
    service: Any
    order: Order

    @property
    def paths(self) -> tuple[str, str]:
        """Where the service has its jobs, and one of them."""
        return getattr(self.service, "paths", (JOBS, ONE_JOB))

    def run(self, **changes: Any) -> Outcome:
        """Run the pipeline to its end."""
        self.start(**changes)
        outcome = self.runner.outcome()
        assert outcome != GONE, f"{self.runner.name} is gone:\n{self.runner.log}"
        return outcome

    def start(self, **changes: Any) -> None:
        """Begin to run the pipeline."""
        self.order = replace(self.order, **changes)
        self.runner.start(self.order)

    def again(self) -> Outcome:
        """Run the same run once more."""
        return self.run()

    def dies_at(self, method: str, path: str, *, acts: bool, after: int = 0) -> None:
        """Let SIGKILL end the runner at a request of this kind; `acts` says whether the service still acts on it."""

        async def act(line: Line) -> None:
            if acts:
                line.act()
            self.runner.strike()

        for _ in range(after):
            self.server.fault(honest(), method, path)
        self.server.fault(Fault(act), method, path)

    def dies(self, **changes: Any) -> None:
        """Run until it is killed."""
        self.start(**changes)
        assert self.runner.outcome() == GONE

    def until_waiting(self) -> None:
        """Let time pass until the runner has looked at its job twice."""
        self.until(lambda: len(self.server.asked("GET", self.paths[1])) >= 2)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Let time pass until something is so."""
        return until(condition, seconds=PATIENCE, told=lambda: f"{self.runner.name}\n{self.runner.log}")

    @contextmanager
    def client(self) -> Iterator[Client]:
        """What a person beside the pipeline uses; the service's own door, so that it isn't noted."""
        settings = self.order.service | {"base_url": getattr(self.service, "base_url", self.server.base_url)}
        with Client(**settings) as client:
            yield client

    def seen(self, outcome: Outcome) -> dict[str, Any]:
        """All that counts of what has happened, without what has to differ."""
        versions = _registered(self.order.registry, self.order.name)
        counted = [_counts_taken_out(version) for version in versions]
        carrier = next((one.carrier for one in DIALECTS if one.name == self.order.dialect), None)
        return _scrubbed(
            {
                "reached": [_wish(arrival, carrier) for arrival in self.server.asked("POST")],
                "jobs": [STATUSES.get(job["status"], job["status"]) for job in self.service.jobs],
                "registered": versions,
                "counted": counted,
                "ended": outcome.ended if outcome.error is None else f"{outcome.ended}, final: {outcome.final}",
                "error": outcome.error,
                "ref": outcome.ref,
            }
        )


@contextmanager
def staged(world: Callable[[], Any], runner: Runner, home: Path, **order: Any) -> Iterator[ParityStage]:
    """A stage for one scenario and one runner, in a folder; nothing of it is left but the runner."""
    with _service(world) as service, FaultServer(service) as server, _storage(service):
        registry = f"sqlite:///{home / 'models.db'}"
        try:
            yield ParityStage(runner, server, service, Order(base_url=server.base_url, registry=registry, **order))
        finally:
            if runner.busy:
                runner.kill()


def _storage(service: Any) -> AbstractContextManager[Any]:
    """The host to which a service sends its users' files, if it is another."""
    return storage_of(service) if hasattr(service, "storage") else nullcontext()


@contextmanager
def _service(world: Callable[[], Any]) -> Iterator[Any]:
    made = world()
    if hasattr(made, "handle"):
        yield made
        return
    with running_service(**made) as running:
        real = Real(running.base_url)
        try:
            yield real
        finally:
            real.close()


# --- What is compared. ---


def _wish(arrival: Any, carrier: object) -> dict[str, Any]:
    """A request that changes something, without the marks of who asks."""
    wish: dict[str, Any] = {"path": arrival.path}
    if arrival.parts:
        for part in arrival.parts:
            if part.named("filename"):
                wish |= {"filename": part.named("filename"), "sha256": hashlib.sha256(part.content).hexdigest()}
            else:
                wish[part.named("name")] = part.content.decode()
    elif arrival.body:
        wish |= {"body": dict(arrival.json)}
        if isinstance(carrier, Suffix):
            return wish | {"body": _without_mark(wish["body"], carrier)}
        metadata = {name: value for name, value in arrival.json.get("metadata", {}).items() if name not in MARKS}
        missing = [mark for mark in MARKS if mark not in arrival.json.get("metadata", {})]
        wish["body"] |= {"metadata": metadata} | ({"missing marks": missing} if missing else {})
    return wish


def _without_mark(body: dict[str, Any], carrier: Suffix) -> dict[str, Any]:
    """A body whose suffix has no mark of who asks; that of the content stays."""
    if "suffix" not in body:
        return body
    own, mark = re.fullmatch(rf"(.*-)([0-9a-f]{{{carrier.digits}}})", body["suffix"]).groups()  # type: ignore[union-attr]
    shown = [mark[share] if name == "content" else "#" for name, share in carrier.shares]
    return body | {"suffix": "".join([own, *shown])}


def _registered(uri: str, name: str) -> list[dict[str, Any]]:
    registry = open_registry(uri)
    try:
        versions, history = registry.versions(name), registry.history(name)
    except NotRegistered:
        return []
    return [
        _record(version) | {"history": [_act(event) for event in history if event.version == version.version]}
        for version in versions
    ]


def _record(version: Any) -> dict[str, Any]:
    record = version.record.model_dump(mode="json", exclude_none=True)
    for moment in ("created_at", "job_created_at", "job_finished_at"):
        record.pop(moment, None)
    for place in ("origin", "git", "service_url"):  # who asked, and from where
        record[place] = bool(record.get(place))
    return record | {"aliases": version.aliases, "verdicts": [verdict.passed for verdict in version.verdicts]}


def _counts_taken_out(version: dict[str, Any]) -> list[Any]:
    """What only this side can know of the data, taken out of a record: it is compared by itself."""
    files = [version.get("training") or {}, version.get("validation") or {}]
    return [[file.pop(name, None) for name in ("rows", "tokens")] for file in files]


def _act(event: Any) -> str:
    return f"{event.action} {event.alias or ''}".strip()


_IDS = (
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
    (re.compile(r"/[^\s\"']*/stage/"), ""),
    (re.compile(r"(ft:[^:]+:[^:]*:[^:]*:)[A-Za-z0-9]{8}\b"), r"\1#"),
    (re.compile(r"-[0-9a-f]{16}-[0-9a-f]{8}\b"), "-#"),
    (re.compile(r"\bft-[0-9a-f]{8}-77f2"), "ft-#"),
    (re.compile(r"\b(ftjob|file|ftckpt|req|upload)[-_][\w-]+"), r"\1-#"),
)


def _scrubbed(value: Any) -> Any:
    """The same without ids, addresses and folders."""
    if isinstance(value, dict):
        return {name: _scrubbed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, str):
        for pattern, word in _IDS:
            value = pattern.sub(word, value)
    return value
