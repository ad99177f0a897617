"""Ray's job REST API, as much of it as running jobs takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
# what clusters say that won't take a submission however often it is sent
REFUSALS = (400, 413, 422)


class Trouble(Exception):
    """No answer that says anything about the job. What has become of a request, nobody knows."""


class Away(Trouble):
    """Nobody answers there, or nobody who would answer us: no use in asking about other jobs now."""


class Refused(Exception):
    """The cluster doesn't want this submission."""


@dataclass(frozen=True)
class RayJob:
    """What a cluster knows of a job submitted to it."""

    status: str
    message: str = ""
    exit_code: int | None = None
    error_type: str | None = None
    node: str | None = None

    @property
    def waiting(self) -> bool:
        """Whether it hasn't been started."""
        return self.status == "PENDING"

    @property
    def ended(self) -> bool:
        """Whether it will not run any more, as far as the cluster knows."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")

    @classmethod
    def read(cls, reply: Any) -> Self:
        """From a reply; `Trouble` when it isn't one of Ray's."""
        if not isinstance(reply, dict) or not isinstance(reply.get("status"), str):
            raise Trouble("a reply that isn't Ray's")
        return cls(
            status=reply["status"],
            message=str(reply.get("message") or ""),
            exit_code=reply.get("driver_exit_code"),
            error_type=reply.get("error_type"),
            node=reply.get("driver_node_id"),
        )


class RayApi:
    """One cluster's jobs.

    Args:
        address: The dashboard's, such as `http://head:8265`.
        headers: Sent with each request; never shown.
    """

    def __init__(self, address: str, headers: Mapping[str, str] | None = None) -> None:
        self.address = address
        self._http = httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT)

    def submit(self, submission: Mapping[str, Any]) -> None:
        """Have a job run; raises `Refused` when the cluster says that this can't be."""
        reply = self._ask("POST", "/api/jobs/", json=submission)
        # the head hides the reply of the process that it asks in a 500 of its own
        if reply.status_code in REFUSALS or "status code 400" in reply.text:
            raise Refused(_last_line(reply.text))
        taken = self._json(reply)
        if not isinstance(taken, dict) or taken.get("submission_id") != submission["submission_id"]:
            raise Trouble("a reply that isn't Ray's")

    def find(self, submission_id: str) -> RayJob | None:
        """What the cluster knows of a job; None when it says that there is none."""
        reply = self._ask("GET", f"/api/jobs/{submission_id}")
        # a 404 of something else on the way says nothing about the job
        if reply.status_code == 404 and "does not exist" in reply.text:
            return None
        return RayJob.read(self._json(reply))

    def stop(self, submission_id: str) -> None:
        """SIGTERM, and SIGKILL some seconds later (3, unless the cluster is set up otherwise)."""
        reply = self._ask("POST", f"/api/jobs/{submission_id}/stop")
        if reply.status_code != 404:
            self._check(reply)

    def logs(self, submission_id: str) -> str:
        """All that the job has printed."""
        reply = self._json(self._ask("GET", f"/api/jobs/{submission_id}/logs"))
        return str(reply.get("logs") or "") if isinstance(reply, dict) else ""

    def delete(self, submission_id: str) -> None:
        """Have the cluster forget a job that has ended."""
        reply = self._ask("DELETE", f"/api/jobs/{submission_id}")
        if reply.status_code != 404:
            self._check(reply)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, *, json: Any = None) -> httpx.Response:
        try:
            reply = self._http.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise Away(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None
        if reply.status_code in (401, 403):
            raise Away(f"it answers {reply.status_code}: set RAY_AUTH_TOKEN or RAY_JOB_HEADERS to what it asks for")
        if reply.status_code in (502, 503, 504):
            raise Away(f"it answers {reply.status_code}")
        return reply

    @staticmethod
    def _check(reply: httpx.Response) -> None:
        if reply.status_code != 200:
            raise Trouble(f"it answers {reply.status_code}: {_last_line(reply.text)}")

    def _json(self, reply: httpx.Response) -> Any:
        self._check(reply)
        try:
            return reply.json()
        except ValueError:
            raise Trouble("a reply that isn't JSON") from None


def _last_line(text: str) -> str:
    """What a traceback comes down to."""
    lines = [line for line in text.splitlines() if line.strip(" .")]
    return lines[-1].strip()[:500] if lines else ""
