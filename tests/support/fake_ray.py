"""Ray's job REST API on loopback, as its head answers it, with faults on request. Nothing is ever run.

with FakeRay() as ray:
    ray.faults["POST"].append("lost")    # the next submission comes through, but its answer doesn't
"""

from __future__ import annotations

import json
import socket
from collections import defaultdict, deque
from contextlib import ExitStack
from typing import Any, Self

from support.receiver import QuietHandler, serving

TRACEBACK = 'Traceback (most recent call last):\n  File "job_head.py", line 419, in submit_job\n'


class FakeRay:
    """A cluster's head. `jobs` is what it knows, by submission id; `submitted` what it ever took, in order."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submitted: list[str] = []
        self.logs: dict[str, str] = {}
        self.stopped: list[str] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.refuses: str | None = None
        self._port = 0
        self._open = ExitStack()

    @property
    def address(self) -> str:
        """Of the dashboard."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Answer, at the same address as before."""
        ray = self

        class Handler(QuietHandler):
            def serve(self) -> None:
                ray._serve(self)

            do_GET = do_POST = do_DELETE = serve  # noqa: N815 - http.server calls them so

        server = self._open.enter_context(serving(Handler, port=self._port))
        self._port = server.server_port

    def down(self) -> None:
        """Be unreachable."""
        self._open.close()

    def set(self, submission: str, status: str, **fields: Any) -> None:
        """A job has come so far."""
        self.jobs[submission] |= {"status": status} | fields

    # --- the other side of the door ---

    def _serve(self, handler: QuietHandler) -> None:
        handler.close_connection = True
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        method = handler.command
        self.seen.append((method, handler.path, dict(handler.headers)))
        fault = self.faults[method].popleft() if self.faults[method] else None
        if fault is not None and fault.isdigit():
            handler.answer(int(fault), f"<html>{fault}</html>".encode())
        elif fault == "garbage":
            handler.answer(200, b"<html>Please log in</html>")
        elif fault == "elsewhere":
            handler.answer(404, b"<html>no such page</html>")
        elif fault == "dropped":
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            status, text = self._answer(method, handler.path, json.loads(body) if body else None)
            if fault == "lost":
                handler.connection.shutdown(socket.SHUT_RDWR)
            else:
                handler.answer(status, text.encode())

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, str]:
        submission, _, verb = path.removeprefix("/api/jobs/").partition("/")
        if method == "POST" and not submission:
            return self._submit(body)
        if submission not in self.jobs:
            return 404, f"Job {submission} does not exist"
        if method == "DELETE":
            if self.jobs[submission]["status"] in ("PENDING", "RUNNING"):
                return 500, TRACEBACK + "RuntimeError: it is in a non-terminal state"
            del self.jobs[submission]
            return 200, json.dumps({"deleted": True})
        if verb == "stop":
            self.stopped.append(submission)
            return 200, json.dumps({"stopped": True})
        if verb == "logs":
            return 200, json.dumps({"logs": self.logs.get(submission, "")})
        return 200, json.dumps(self.jobs[submission])

    def _submit(self, body: dict[str, Any]) -> tuple[int, str]:
        submission = body["submission_id"]
        if self.refuses is not None:
            return 500, f"{TRACEBACK}RuntimeError: Request failed with status code 400: ValueError: {self.refuses}\n."
        if submission in self.jobs:
            text = f"Job with submission_id {submission} already exists. Please use a different submission_id."
            return 500, f"{TRACEBACK}RuntimeError: Request failed with status code 400: ValueError: {text}\n."
        self.submitted.append(submission)
        self.jobs[submission] = {
            "status": "PENDING",
            "message": "Job has not started yet.",
            "driver_exit_code": None,
            "error_type": None,
            "driver_node_id": None,
        } | {"asked": body}
        return 200, json.dumps({"job_id": submission, "submission_id": submission})
