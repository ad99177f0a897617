"""A service whose jobs have the names that clients choose, each name once: in memory, as `FakeService` is."""

# Seen from here, `support` isn't on mypy's path.
# mypy: disallow-subclassing-any=False, warn-return-any=False

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from support.fake_service import JOB, FakeService, refuse

from tuneway.calls import Request, Response
from tuneway.flows import ORIGIN, marks_in_name

CANCELLING = "JOB_STATE_CANCELLING"


@dataclass
class NamedService(FakeService):
    """What `FakeService` is, with names, and with a delete.

    `taken` is the status of the refusal of a name that is taken: 409, or 400 on services that know no better.
    `cancels_slowly` leaves a job that is cancelled in an own status until `finish` is called.
    """

    taken: int = 409
    cancels_slowly: bool = False

    def handle(self, request: Request) -> Response:
        found = JOB.match(request.path)
        if request.method == "DELETE" and found:
            self.log.append(request)
            self.jobs.remove(self.job(unquote(found["id"])))
            return Response(200, {}, b"{}")
        return super().handle(request)

    def delete(self, job_id: str) -> None:
        """A person deletes a job."""
        self.jobs.remove(self.job(job_id))

    def _list_jobs(self, request: Request) -> Response:
        beginning = request.name or ""
        jobs = [job for job in reversed(self.jobs) if self.visible(job) and job["id"].startswith(beginning)]
        return self._page(jobs, request)

    def _create_job(self, request: Request) -> Response:
        name = request.name
        assert name is not None, "a create without a name"
        if any(job["id"] == name for job in self.jobs):
            return refuse(self.taken, f"{name} already exists")
        return super()._create_job(request)

    def add_job(self, **fields: Any) -> dict[str, Any]:
        name = self.log[-1].name if self.log and self.log[-1].method == "POST" else None
        fields = {"id": name} | fields if name else fields
        origin = (fields.get("metadata") or {}).get(ORIGIN)
        marks = dict(marks_in_name(fields["id"])) | ({ORIGIN: origin} if origin else {})
        return super().add_job(**fields | {"metadata": marks})

    def _job(self, request: Request, job_id: str, verb: str | None) -> Response:
        job_id = unquote(job_id)
        if verb == "cancel" and self.cancels_slowly and any(job["id"] == job_id for job in self.alive):
            self.job(job_id)["status"] = CANCELLING
        elif verb == "cancel":
            return super()._job(request, job_id, verb)
        return super()._job(request, job_id, None if verb == "cancel" else verb)
