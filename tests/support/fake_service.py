"""A service in memory: what the API promises, with every quirk a switch. No socket, no sleep, no training.

Tests of flows talk to it directly, through `VirtualDriver`; `fault_server` puts it behind a real socket.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneway.calls import FilePart, Request, Response

JOB = re.compile(r"/fine_tuning/jobs/(?P<id>[^/]+)(?:/(?P<verb>\w+))?$")


@dataclass
class FakeService:
    """State, switches, and one door: `handle`."""

    filters_metadata: bool = True
    tells_has_more: bool = True
    keeps_metadata: bool = True
    page_cap: int = 100
    clock: Callable[[], float] = lambda: 1_000_000.0
    jobs: list[dict[str, Any]] = field(default_factory=list)  # oldest first
    files: list[dict[str, Any]] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # oldest first
    checkpoints: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # oldest first
    contents: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    visible: Callable[[dict[str, Any]], bool] = lambda job: True

    # --- what tests do behind the service's door ---

    def add_job(self, **fields: Any) -> dict[str, Any]:
        """A job from elsewhere."""
        job = {
            "id": f"ftjob-{len(self.jobs) + 1}",
            "object": "fine_tuning.job",
            "created_at": int(self.clock()),
            "status": "running",
            "model": "base",
            "fine_tuned_model": None,
            "error": None,
            "metadata": {},
        } | fields
        self.jobs.append(job)
        return job

    def add_file(self, **fields: Any) -> dict[str, Any]:
        """A file from elsewhere."""
        number = len(self.files) + 1
        file = {
            "id": f"file-{number}",
            "object": "file",
            "bytes": 3,
            "created_at": int(self.clock()),
            "filename": "train.jsonl",
            "purpose": "fine-tune",
            "status": "processed",
        } | fields
        self.files.append(file)
        return file

    def add_event(self, job_id: str, message: str, **fields: Any) -> dict[str, Any]:
        """A line in a job's log."""
        log = self.events.setdefault(job_id, [])
        event = {
            "id": f"ftevent-{job_id}-{len(log) + 1}",
            "object": "fine_tuning.job.event",
            "created_at": int(self.clock()),
            "level": "info",
            "type": "message",
            "message": message,
        } | fields
        log.append(event)
        return event

    def finish(self, job_id: str, status: str = "succeeded", **fields: Any) -> None:
        """Let a job end."""
        job = self.job(job_id)
        job |= {"status": status, "finished_at": int(self.clock())} | fields
        if status == "succeeded" and "fine_tuned_model" not in fields:
            job["fine_tuned_model"] = f"ft:{job['model']}:org::{job_id}"

    def job(self, job_id: str) -> dict[str, Any]:
        """The service's own record."""
        return next(job for job in self.jobs if job["id"] == job_id)

    @property
    def alive(self) -> list[dict[str, Any]]:
        """Jobs that cost money or have given a model."""
        return [job for job in self.jobs if job["status"] not in ("failed", "cancelled")]

    def requests(self, method: str, path: str) -> list[Request]:
        """What reached the service, of this kind."""
        return [request for request in self.log if request.method == method and re.fullmatch(path, request.path)]

    # --- the door ---

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        self.log.append(request)
        match request.method, request.path:
            case "GET", "/fine_tuning/jobs":
                return self._list_jobs(request)
            case "POST", "/fine_tuning/jobs":
                return self._create_job(request)
            case "GET", "/files":
                return self._page(list(reversed(self.files)), request)
            case "POST", "/files":
                return self._create_file(request)
            case "POST", "/uploads":
                return self._create_upload(request)
            case "GET", "/models":
                return reply({"object": "list", "data": [{"id": "base", "object": "model"}]})
        for path, answer in ((JOB, self._job), (re.compile(r"/files/(?P<id>[^/]+)(?:/(?P<verb>\w+))?$"), self._file),
                             (re.compile(r"/uploads/(?P<id>[^/]+)/(?P<verb>\w+)$"), self._upload)):  # fmt: skip
            found = path.match(request.path)
            if found:
                return answer(request, found["id"], found["verb"])
        return refuse(404, "no such path")

    def _list_jobs(self, request: Request) -> Response:
        wanted = {k[9:-1]: v for k, v in request.query if k.startswith("metadata[")}
        jobs = [job for job in reversed(self.jobs) if self.visible(job)]
        if self.filters_metadata:
            jobs = [job for job in jobs if all((job["metadata"] or {}).get(k) == v for k, v in wanted.items())]
        return self._page(jobs, request)

    def _page(self, items: list[dict[str, Any]], request: Request) -> Response:
        query = dict(request.query)
        limit = min(int(query.get("limit", 20)), self.page_cap)
        ids = [item["id"] for item in items]
        start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
        body: dict[str, Any] = {"object": "list", "data": items[start : start + limit]}
        if self.tells_has_more:
            body["has_more"] = start + limit < len(items)
        return reply(body)

    def _create_job(self, request: Request) -> Response:
        body = dict(request.json or {})
        known = {file["id"] for file in self.files}
        if known and body["training_file"] not in known:
            return refuse(400, "no such file", code="file_not_found", param="training_file")
        metadata = body.pop("metadata", None) or {}
        return reply(
            self.add_job(status="validating_files", metadata=metadata if self.keeps_metadata else None, **body)
        )

    def _job(self, request: Request, job_id: str, verb: str | None) -> Response:
        job = next((job for job in self.jobs if job["id"] == job_id), None)
        if job is None:
            return refuse(404, f"no such job: {job_id}")
        ended = job["status"] in ("succeeded", "failed", "cancelled")
        match request.method, verb:
            case "GET", "checkpoints":
                return self._page(list(reversed(self.checkpoints.get(job_id, []))), request)
            case "GET", "events":
                return self._page(list(reversed(self.events.get(job_id, []))), request)
            case "POST", "cancel" if ended:
                return refuse(400, f"job has already {job['status']}")
            case "POST", "cancel":
                self.finish(job_id, "cancelled")
            case "POST", "pause":
                job["status"] = "paused"
            case "POST", "resume":
                job["status"] = "queued"
        return reply(job)

    def _create_file(self, request: Request) -> Response:
        assert request.form is not None
        part = request.form.file
        content = content_of(part)
        file = self.add_file(
            filename=part.filename, bytes=len(content), purpose=dict(request.form.fields).get("purpose")
        )
        self.contents[file["id"]] = content
        return reply(file)

    def _file(self, request: Request, file_id: str, verb: str | None) -> Response:
        file = next((file for file in self.files if file["id"] == file_id), None)
        if file is None:
            return refuse(404, f"no such file: {file_id}")
        if verb == "content":
            return Response(200, {"content-type": "application/octet-stream"}, self.contents[file_id])
        if request.method == "DELETE":
            self.files.remove(file)
            return reply({"id": file_id, "object": "file", "deleted": True})
        return reply(file)

    def _create_upload(self, request: Request) -> Response:
        body = dict(request.json or {})
        upload = {"id": f"upload-{len(self.uploads) + 1}", "object": "upload", "status": "pending", **body}
        self.uploads[upload["id"]] = upload | {"parts": {}}
        return reply(upload)

    def _upload(self, request: Request, upload_id: str, verb: str) -> Response:
        upload = self.uploads[upload_id]
        if verb == "parts":
            assert request.form is not None
            part = request.form.file
            content = content_of(part)
            end = None if part.length is None else part.offset + part.length
            part_id = f"part-{len(upload['parts']) + 1}"
            upload["parts"][part_id] = content[part.offset : end]
            return reply({"id": part_id, "object": "upload.part", "upload_id": upload_id})
        if upload["status"] != "pending":
            return refuse(400, f"upload is {upload['status']}")
        content = b"".join(upload["parts"][part_id] for part_id in (request.json or {})["part_ids"])
        if len(content) != upload["bytes"]:
            return refuse(400, "the parts don't add up")
        upload["status"] = "completed"
        file = self.add_file(filename=upload["filename"], bytes=len(content), purpose=upload["purpose"])
        self.contents[file["id"]] = content
        return reply({k: v for k, v in upload.items() if k != "parts"} | {"file": file})


def content_of(part: FilePart) -> bytes:
    """All bytes of the file that a part of a form comes from."""
    if isinstance(part.source, bytes):
        return part.source
    if isinstance(part.source, Path):
        return part.source.read_bytes()
    with part.source.open() as file:
        return file.read()


def reply(body: Any, status: int = 200, **headers: str) -> Response:
    """A JSON reply."""
    return Response(status, {"content-type": "application/json"} | headers, json.dumps(body).encode())


def refuse(status: int, message: str, *, code: str | None = None, param: str | None = None, **headers: str) -> Response:
    """A refusal in the contract's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return reply({"error": {"message": message, "type": kind, "code": code, "param": param}}, status, **headers)


def result_csv(*rows: str) -> bytes:
    """A result file as services send it: base64 of a CSV."""
    text = "\n".join(["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy", *rows])
    return base64.b64encode(text.encode())
