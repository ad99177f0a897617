"""A client for the part of Ray's job REST API that running jobs needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
# statuses of a cluster that will never accept this submission
REFUSALS = (400, 413, 422)


class NoAnswer(Exception):
    """There is no usable answer: the request may have been processed or not."""


class Unreachable(NoAnswer):
    """The cluster can't be reached, or refuses our key: asking about other jobs is no use now."""


class Refused(Exception):
    """The cluster refuses this submission."""


@dataclass(frozen=True)
class RayJob:
    """The cluster's record of a submitted job."""

    status: str
    message: str = ""
    exit_code: int | None = None
    error_type: str | None = None
    node: str | None = None

    @property
    def waiting(self) -> bool:
        """Whether it hasn't been started yet."""
        return self.status == "PENDING"

    @property
    def ended(self) -> bool:
        """Whether it has ended, as far as the cluster knows."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")

    @classmethod
    def read(cls, reply: Any) -> Self:
        """From a reply; raises `NoAnswer` if it isn't one of Ray's."""
        if not isinstance(reply, dict) or not isinstance(reply.get("status"), str):
            raise NoAnswer("the reply isn't one of Ray's")
        return cls(
            status=reply["status"],
            message=str(reply.get("message") or ""),
            exit_code=reply.get("driver_exit_code"),
            error_type=reply.get("error_type"),
            node=reply.get("driver_node_id"),
        )


class RayApi:
    """The jobs of one cluster.

    Args:
        address: The address of the dashboard, such as `http://head:8265`.
        headers: Headers for each request; never logged.
    """

    def __init__(self, address: str, headers: Mapping[str, str] | None = None) -> None:
        self.address = address
        self._http = httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT)

    def submit(self, submission: Mapping[str, Any]) -> None:
        """Submit a job; raises `Refused` if the cluster can't accept it."""
        reply = self._ask("POST", "/api/jobs/", json=submission)
        # the head wraps a 400 of its agent into a 500
        if reply.status_code in REFUSALS or "status code 400" in reply.text:
            raise Refused(_last_line(reply.text))
        taken = self._json(reply)
        if not isinstance(taken, dict) or taken.get("submission_id") != submission["submission_id"]:
            raise NoAnswer("the reply isn't one of Ray's")

    def find(self, submission_id: str) -> RayJob | None:
        """The cluster's record of a job; None if it says that it has none."""
        reply = self._ask("GET", f"/api/jobs/{submission_id}")
        # a 404 without this text may come from a proxy, and says nothing about the job
        if reply.status_code == 404 and "does not exist" in reply.text:
            return None
        return RayJob.read(self._json(reply))

    def stop(self, submission_id: str) -> None:
        """Send SIGTERM, and SIGKILL some seconds later (3 by default)."""
        reply = self._ask("POST", f"/api/jobs/{submission_id}/stop")
        if reply.status_code != 404:
            self._check(reply)

    def logs(self, submission_id: str) -> str:
        """The job's output."""
        reply = self._json(self._ask("GET", f"/api/jobs/{submission_id}/logs"))
        return str(reply.get("logs") or "") if isinstance(reply, dict) else ""

    def delete(self, submission_id: str) -> None:
        """Delete the cluster's record of a job that has ended."""
        reply = self._ask("DELETE", f"/api/jobs/{submission_id}")
        if reply.status_code != 404:
            self._check(reply)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, *, json: Any = None) -> httpx.Response:
        try:
            reply = self._http.request(method, path, json=json)
        except httpx.HTTPError as error:
            raise Unreachable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None
        if reply.status_code in (401, 403):
            raise Unreachable(f"it answers {reply.status_code}: set RAY_AUTH_TOKEN or RAY_JOB_HEADERS to its key")
        if reply.status_code in (502, 503, 504):
            raise Unreachable(f"it answers {reply.status_code}")
        return reply

    @staticmethod
    def _check(reply: httpx.Response) -> None:
        if reply.status_code != 200:
            raise NoAnswer(f"it answers {reply.status_code}: {_last_line(reply.text)}")

    def _json(self, reply: httpx.Response) -> Any:
        self._check(reply)
        try:
            return reply.json()
        except ValueError:
            raise NoAnswer("the reply isn't JSON") from None


def _last_line(text: str) -> str:
    """The last line of a traceback."""
    lines = [line for line in text.splitlines() if line.strip(" .")]
    return lines[-1].strip()[:500] if lines else ""
