"""Clients, a service and the time between them, where clients choose the names of jobs: for the simulator.

The service shows a job by its name at once, and on lists late. A person deletes dead jobs: when it is quiet, or at any
time. The promise is stronger than with marks: there are never two jobs for an intent, not even for a moment. Only
where jobs are deleted at any time, there may be two, and the next submission leaves one.
"""

# Seen from here, `support` isn't on mypy's path.
# mypy: disallow-subclassing-any=False, warn-return-any=False

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

from support.fake_service import FakeService, refuse
from support.named_service import CANCELLING
from support.sim_faults import WINDOW
from support.sim_service import JSON, LateService
from support.sim_witness import Broken, Witness, intent
from support.sim_world import World

from tuneway import calls, progress
from tuneway.calls import Request, Response
from tuneway.errors import TransportError
from tuneway.flows import CONTENT, KEY, ORIGIN, marks_in_name

if TYPE_CHECKING:
    from support.sim_world import Client

ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class LateNames(LateService):
    """Each name is given once, and read as it is; lists show late what there is."""

    deleted: list[dict[str, Any]] = field(default_factory=list)
    _name: str | None = None

    def job(self, job_id: str) -> dict[str, Any]:
        """The service's own record, also of a job that was deleted since."""
        job_id = unquote(job_id)
        return next(job for job in [*self.jobs, *reversed(self.deleted)] if job["id"] == job_id)

    def delete(self, job: dict[str, Any]) -> None:
        """A person deletes a job."""
        self.jobs.remove(job)
        self.deleted.append(job)

    def add_job(self, **fields: Any) -> dict[str, Any]:
        given = fields.get("marks") or self._marks_sent
        name, self._name = self._name or f"tw-{given[KEY][:24]}-{given[CONTENT]}-0", None
        marks = {**marks_in_name(name), ORIGIN: given.get(ORIGIN, "")}
        return super().add_job(**fields | {"id": name, "metadata": marks})

    def _create_job(self, request: Request) -> Response:
        if any(job["id"] == request.name for job in self.jobs):
            return refuse(409, f"{request.name} already exists")
        self._name = request.name
        self._marks_sent = dict((request.json or {}).get("metadata") or {})
        return FakeService._create_job(self, request)

    def _list_jobs(self, request: Request) -> Response:
        query = dict(request.query)
        limit = min(int(query["limit"]), self.page_cap)
        jobs = [job for job in reversed(self.jobs) if job["id"].startswith(request.name or "") and self.shows(job)]
        if "after" in query:
            after = self.job(query["after"])
            rank = after["created_at"], after["id"]
            jobs = [job for job in jobs if (job["created_at"], job["id"]) < rank]
        view = self.clock() - self.lag
        data = b",".join([self.lives[job["id"]].at(view) for job in jobs[:limit]])
        more = json.dumps(len(jobs) > limit).encode() if self.tells_has_more else b"null"
        return Response(200, JSON, b'{"object":"list","has_more":' + more + b',"data":[' + data + b"]}")

    def _job(self, request: Request, job_id: str, verb: str | None) -> Response:
        job_id = unquote(job_id)
        if verb:
            return super()._job(request, job_id, verb)
        if not any(job["id"] == job_id for job in self.jobs):
            return refuse(404, f"no such job: {job_id}")
        return Response(200, JSON, self.lives[job_id].states[-1][1])


class NamesWitness(Witness):
    """Sees everything; raises `Broken`, also where there are two jobs for a moment."""

    def others_marks(self) -> dict[str, Any]:
        marks = {KEY: f"{self.world.rng.getrandbits(128):032x}", CONTENT: intent("content").content}
        return {"training_file": "file-1", "metadata": None, "marks": marks}

    def hears(self, client: Client, request: Request, heard: Response | TransportError) -> None:
        super().hears(client, request, heard)
        memory = self._memories[client.name]
        if request.method == "GET" and request.path == f"{calls.jobs.ROOT}/{memory.name}":
            memory.looked = isinstance(heard, Response) and heard.status == 404

    def sends(self, client: Client, request: Request) -> None:
        super().sends(client, request)
        if request.method == "POST" and request.path == calls.jobs.ROOT:
            self._memories[client.name].name = request.name

    def told(self, client: Client, news: progress.News) -> None:
        super().told(client, news)
        if isinstance(news, progress.RivalCancelled) and self.world.scenario.within_guarantee:
            raise Broken(f"{client.name} is told: {news}")

    def statuses(self, job_id: str) -> list[str]:
        service = self.world.service
        assert isinstance(service, LateNames)
        return [job["status"] for job in [*service.jobs, *service.deleted] if job["id"] == job_id]

    def born(self, job: dict[str, Any]) -> None:
        super().born(job)
        for key in (intent("run").key, intent("content").key):
            alive = [job["id"] for job in self.alive(key)]
            if len(alive) > 1 and self.world.scenario.within_guarantee:
                raise Broken(f"{len(alive)} jobs live at one moment for one intent: {', '.join(alive)}")
            self.counts["two at a moment"] += len(alive) > 1


@dataclass
class NamedWorld(World):
    """One schedule."""

    service_class: ClassVar[type[LateService]] = LateNames
    witness_class: ClassVar[type[Witness]] = NamesWitness

    def _end(self, job: dict[str, Any], status: str) -> None:
        """Let a job end. One that is cancelled may take a while to end."""
        if status == "cancelled" and self.scenario.ends_slowly and job["status"] not in (*ENDED, CANCELLING):
            job["status"] = CANCELLING
            self.service.changed(job)
            self.at(self.now + self.rng.uniform(0, 2 * WINDOW), lambda: self._end(job, status))
            return
        if job["status"] in ENDED:
            return
        super()._end(job, status)
        if status != "succeeded" and self.scenario.deletes != "never":
            self.at(self.now + self.rng.uniform(0, 3 * WINDOW), lambda: self._delete(job))

    def _delete(self, job: dict[str, Any]) -> None:
        """A person deletes a dead job."""
        at_any_time = self.scenario.deletes == "at any time"
        submitting = any(client.flow is not None and client.phase == "submit" for client in self.clients)
        if not at_any_time and (submitting or self.in_flight):
            self.at(self.now + self.rng.uniform(1, WINDOW), lambda: self._delete(job))
            return
        assert isinstance(self.service, LateNames)
        self.service.delete(job)
        self.witness.counts["deleted"] += 1
        if self.trace:
            self.say("person", f"deletes {job['id']}")
