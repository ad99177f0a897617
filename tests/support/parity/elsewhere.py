"""Rows of the table on other services than OpenAI: each has its own wire, its own faults, and one job."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.fault_server import answer, cut, drop_after, drop_before, late
from support.parity.order import Outcome
from support.parity.stage import FILES, ParityStage, Trains
from support.vendors.nebius import Nebius
from support.vendors.together import MODEL, FakeTogether

from tuneway.calls import Request, Response

BUSY = {"error": {"message": "come back later"}}


class NebiusTrains(Trains, Nebius):
    """Nebius, whose jobs have ended when they are looked at for the second time."""


class TogetherTrains(FakeTogether):
    """Together, likewise. Its files go to a storage of its own, and a job's mark is its key alone."""

    paths = "/fine-tunes", "/fine-tunes/ft-[^/]+"

    def __init__(self, *, will_end: str | None = "completed") -> None:
        super().__init__(looks_until_cancelled=0)
        self.will_end = will_end
        self._looks: dict[str, int] = {}

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if request.method == "GET" and re.fullmatch(self.paths[1], request.path):
            job_id = request.path.rpartition("/")[2]
            self._looks[job_id] = self._looks.get(job_id, 0) + 1
            alive = any(job["id"] == job_id and job["status"] == "pending" for job in self.jobs)
            if self.will_end and alive and self._looks[job_id] > 1:
                self.finish(job_id, self.will_end)
        return super().handle(request)

    def _cancel(self, job: dict[str, Any]) -> Response:
        reply = super()._cancel(job)
        self._look(job)  # it is cancelled at once
        return reply


def tormented(stage: ParityStage) -> Outcome:
    """One run, in which every kind of request meets the faults that it can meet."""
    server = stage.server
    jobs, one_job = stage.paths
    for fault in (answer(BUSY, 503), drop_after()):
        server.fault(fault, "POST", FILES)
    for fault in (answer(BUSY, 429, retry_after="0.1"), answer(BUSY, 503), cut(200)):
        server.fault(fault, "POST", jobs)
    for fault in (late(0.3), cut(200)):
        server.fault(fault, "GET", jobs)
    for fault in (late(0.3), drop_before()):
        server.fault(fault, "GET", one_job)
    return stage.run()


def killed_twice_and_run_twice(stage: ParityStage) -> Outcome:
    """Killed in the create, killed again while it waits, and then run to its end, twice."""
    jobs, one_job = stage.paths
    stage.dies_at("POST", jobs, acts=True)
    stage.dies()
    stage.dies_at("GET", one_job, acts=True, after=1)
    stage.dies()
    assert stage.again().ended == "succeeded", stage.runner.log
    return stage.again()


def stopped_by_its_user(stage: ParityStage) -> Outcome:
    """A person stops the run while it waits. How the run ends then is another row's matter."""
    stage.start()
    stage.until_waiting()
    stage.runner.cancel(stage.order)
    stage.until(lambda: not stage.service.alive)
    stage.runner.outcome()
    return Outcome(ended="stopped")


@dataclass(frozen=True)
class Elsewhere:
    """A service.

    Args:
        name: Its name.
        world: Makes it.
        order: What an order has for it.
        uploads: How often a file is announced in `tormented`.
    """

    name: str
    world: Callable[..., Any]
    order: Mapping[str, Any] = field(default_factory=dict)
    uploads: int = 2


SERVICES = {
    "nebius": Elsewhere("Nebius", NebiusTrains),
    "together": Elsewhere("Together", TogetherTrains, {"model": MODEL}, uploads=3),
}
"""By dialect."""
