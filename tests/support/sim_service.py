"""A service whose lists show late what it has: for the simulator.

A look is answered from a view that may be older than now, by up to the settle window; a job is on it when
it was committed before the view's moment, or when the window since its request's end is over. Replies are
encoded once per state of a job, since a million schedules spend their time here.
"""

# Seen from here, `support` isn't on mypy's path.
# mypy: disallow-subclassing-any=False, warn-return-any=False

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.fake_service import FakeService, refuse

from tuneway.calls import Request, Response

JSON = {"content-type": "application/json"}


@dataclass
class Life:
    """A job as it was, from its commit on, each state with its moment and its encoding."""

    sure_at: float
    moments: list[float] = field(default_factory=list)
    states: list[tuple[str, bytes]] = field(default_factory=list)

    def at(self, view: float) -> bytes:
        """The state that a view of this moment shows; the first, if it is older than the job."""
        for moment, (_, encoded) in zip(reversed(self.moments), reversed(self.states), strict=True):
            if moment <= view:
                return encoded
        return self.states[0][1]


@dataclass
class LateService(FakeService):
    """A service with views. Whoever sends a request sets `lag` before, and for a create `sure_at` and `stamp`."""

    lag: float = 0.0
    sure_at: float = 0.0
    stamp: float = 0.0
    new_id: Callable[[], str] = lambda: "0"
    on_job: Callable[[dict[str, Any]], None] = lambda job: None
    honours_idempotency: bool = False
    lives: dict[str, Life] = field(default_factory=dict)
    sent_marks: dict[str, dict[str, str]] = field(default_factory=dict)  # of each job, whether or not it shows them
    _created: dict[str, str] = field(default_factory=dict)
    _last: str = ""
    _marks_sent: dict[str, str] = field(default_factory=dict)
    _files: dict[str, bytes] = field(default_factory=dict)

    def add_job(self, **fields: Any) -> dict[str, Any]:
        marks: dict[str, str] = fields.pop("marks", None) or self._marks_sent
        fields = {"id": f"ftjob-{self.new_id()}", "created_at": int(self.stamp)} | fields
        job = super().add_job(**fields)
        self.sent_marks[job["id"]] = marks
        self.jobs.sort(key=lambda job: (job["created_at"], job["id"]))
        self.lives[job["id"]] = Life(self.sure_at)
        self._last = job["id"]
        self.changed(job)
        self.on_job(job)
        return job

    def mark_of(self, job_id: str, name: str) -> str | None:
        """What was asked to be kept on a job."""
        return self.sent_marks.get(job_id, {}).get(name)

    def changed(self, job: dict[str, Any]) -> None:
        """Remember a job's state, from now on."""
        life = self.lives[job["id"]]
        life.moments.append(self.clock())
        life.states.append((job["status"], json.dumps(job).encode()))

    def finish(self, job_id: str, status: str = "succeeded", **fields: Any) -> None:
        super().finish(job_id, status, **fields)
        self.changed(self.job(job_id))

    def shows(self, job: dict[str, Any]) -> bool:
        """Whether the present view has this job."""
        life, now = self.lives[job["id"]], self.clock()
        return life.moments[0] <= now - self.lag or life.sure_at <= now

    def _list_jobs(self, request: Request) -> Response:
        query = dict(request.query)
        jobs = self.jobs[::-1]
        after = query.get("after")
        if after is not None:
            jobs = jobs[next(i for i, job in enumerate(jobs) if job["id"] == after) + 1 :]
        if self.filters_metadata:
            wanted = [(k[9:-1], v) for k, v in query.items() if k.startswith("metadata[")]
            jobs = [job for job in jobs if all((job["metadata"] or {}).get(k) == v for k, v in wanted)]
        jobs = [job for job in jobs if self.shows(job)]
        limit = min(int(query.get("limit", 20)), self.page_cap)
        view = self.clock() - self.lag
        more = (b',"has_more":true}', b',"has_more":false}')[len(jobs) <= limit] if self.tells_has_more else b"}"
        data = b",".join([self.lives[job["id"]].at(view) for job in jobs[:limit]])
        return Response(200, JSON, b'{"object":"list","data":[' + data + b"]" + more)

    def _create_job(self, request: Request) -> Response:
        self._marks_sent = dict((request.json or {}).get("metadata") or {})
        name = request.headers.get("idempotency-key", "")
        if self.honours_idempotency and name in self._created:
            return Response(200, JSON, self.lives[self._created[name]].states[-1][1])
        reply = super()._create_job(request)
        self._created[name] = self._last
        return reply

    def _job(self, request: Request, job_id: str, verb: str | None) -> Response:
        if verb == "cancel":
            return super()._job(request, job_id, verb)
        job = self.job(job_id)
        if not self.shows(job):
            return refuse(404, f"no such job: {job_id}")
        if verb == "events":
            return self._list_events(job_id, request)
        return Response(200, JSON, self.lives[job_id].at(self.clock() - self.lag))

    def _list_events(self, job_id: str, request: Request) -> Response:
        view = self.clock() - self.lag
        log = [event for event in reversed(self.events.get(job_id, ())) if event["created_at"] <= view]
        return self._page(log, request)

    def _file(self, request: Request, file_id: str, verb: str | None) -> Response:
        if file_id not in self._files:
            self._files[file_id] = super()._file(request, file_id, verb).content
        return Response(200, JSON, self._files[file_id])
