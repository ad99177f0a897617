"""Together AI in memory: its own wire, as its SDK (3.1) reads it. No socket, no sleep, no training.

`FakeTogether.handle` takes requests below `/v1`. Uploads go to a storage with an address of its own, `Storage`, which
a second server can stand for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.fake_service import content_of, refuse, reply
from support.vendors.together_rules import MODEL, format_error, limits_of, problems

from tuneway.calls import Request, Response

ENDED = ("completed", "error", "user_error", "cancelled")
ONLY_IN_LISTS = ("suffix", "random_seed", "packing", "max_seq_length", "wandb_name", "wandb_entity", "owner_address")
ONLY_ALONE = ("adapter_object_name", "model_object_name", "progress")


@dataclass
class Storage:
    """Where the bytes of uploads go: another host, which knows signed addresses and no key."""

    address: str = "https://storage.invalid"
    grants: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    stored: Callable[[dict[str, Any], bytes], object] = lambda _grant, _content: None

    def sign(self, grant: dict[str, Any]) -> str:
        """The address to which the bytes of a file are to be sent."""
        number = len(self.grants) + 1
        signature = f"signature-{number:012d}-of-nobody-else"
        self.grants[signature] = grant
        return f"{self.address}/uploads/{grant['id']}?X-Amz-Signature={signature}&X-Amz-Expires=3600"

    def handle(self, request: Request) -> Response:
        """Take the bytes of a file."""
        self.log.append(request)
        query = parse_qs(urlsplit(request.address).query) if request.address else dict(_lists(request.query))
        signature = query.get("X-Amz-Signature", [""])[0]
        grant = self.grants.get(signature)
        if "authorization" in {name.lower() for name in request.headers}:
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        if request.method != "PUT" or grant is None:
            return _xml(403, "SignatureDoesNotMatch", f"StringToSign: {signature}")
        content = content_of(request.content) if request.content else b""
        if hashlib.sha256(content).hexdigest() != grant["checksum"]:
            return _xml(400, "BadDigest", "The checksum you specified did not match what we received.")
        self.stored(grant, content)
        return Response(200, {"etag": '"1"'}, b"")


@dataclass
class FakeTogether:
    """State, switches, and one door: `handle`.

    Args:
        takes_max: Whether a job may have the batch size "max", which the service's SDK sends.
        looks_until_cancelled: How often a job is read as `cancel_requested` before it is cancelled.
        looks_until_processed: How often a file is read as being processed before that ends.
        usd_per_million: The price of a million tokens.
        clock: The time.
        visible: Whether the list shows a job.
    """

    takes_max: bool = False
    looks_until_cancelled: int = 1
    looks_until_processed: int = 1
    usd_per_million: float = 0.48
    credit: float = 100.0
    clock: Callable[[], float] = lambda: 1_000_000.0
    visible: Callable[[dict[str, Any]], bool] = lambda job: True
    models: dict[str, dict[str, Any]] = field(default_factory=lambda: {MODEL: limits_of(MODEL)})
    jobs: list[dict[str, Any]] = field(default_factory=list)  # oldest first
    files: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # oldest first
    checkpoints: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    metrics: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    storage: Storage = field(default_factory=Storage)
    _waits: dict[str, int] = field(default_factory=dict)
    _ids: int = 0

    def __post_init__(self) -> None:
        self.storage.stored = self._store

    # --- what tests do behind the service's door ---

    def add_job(self, **fields: Any) -> dict[str, Any]:
        """A job from elsewhere."""
        number = len(self.jobs) + 1
        job_id = f"ft-{number:08x}-77f2"
        model = fields.get("model") or MODEL
        ending = f"{fields['suffix']}-" if fields.get("suffix") else ""
        name = f"acme/{model.rpartition('/')[2]}-{ending}{number:08x}"
        job = {
            "id": job_id,
            "user_id": "user-1",
            "status": "pending",
            "created_at": self._now(),
            "updated_at": self._now(),
            "model": model,
            "model_output_name": name,
            "adapter_output_name": None,
            "model_object_name": name,
            "adapter_object_name": f"{name}-adapter",
            "owner_address": "0x0",
            "token_count": 0,
            "total_price": 0,
            "events": [],
        } | fields
        self.jobs.append(job)
        self.add_event(job_id, "job_pending", "Fine tune request created")
        return job

    def add_file(self, content: bytes = b'{"text": "a"}\n', **fields: Any) -> dict[str, Any]:
        """A file from elsewhere, processed already."""
        self._ids += 1
        file = {
            "id": f"file-{self._ids:08d}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(self.clock()),
            "filename": "train.jsonl",
            "FileType": "jsonl",
            "purpose": "fine-tune",
            "processing_status": "COMPLETED",
        } | fields
        self.files.append(file)
        self.contents[file["id"]] = content
        return file

    def add_event(self, job_id: str, kind: str, message: str, **fields: Any) -> dict[str, Any]:
        """A line in a job's log. It has no id."""
        event = {
            "object": "fine-tune-event",
            "created_at": self._now(),
            "level": "info",
            "type": kind,
            "message": message,
        }
        self.events.setdefault(job_id, []).append(event | fields)
        return event | fields

    def finish(self, job_id: str, status: str = "completed", **fields: Any) -> None:
        """Let a job end."""
        job = self.job(job_id)
        tokens = self._tokens(job)
        job |= {"status": status, "updated_at": self._now(), "token_count": tokens}
        job |= {"total_price": round(tokens * self.usd_per_million * 1000)} | fields  # in billionths of a dollar
        self.add_event(job_id, "job_complete" if status == "completed" else "job_error", f"Job {status}")

    def job(self, job_id: str) -> dict[str, Any]:
        """The service's own record."""
        return next(job for job in self.jobs if job["id"] == job_id)

    @property
    def alive(self) -> list[dict[str, Any]]:
        """The jobs that are billed: those that run or have succeeded."""
        dead = ("error", "user_error", "cancelled", "cancel_requested")
        return [job for job in self.jobs if job["status"] not in dead]

    def requests(self, method: str, path: str) -> list[Request]:
        """What reached the service, of this kind."""
        return [request for request in self.log if request.method == method and re.fullmatch(path, request.path)]

    # --- the door ---

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if request.address is not None:
            return self.storage.handle(request)
        self.log.append(request)
        answers: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "/fine-tunes"): self._list_jobs,
            ("POST", "/fine-tunes"): self._create_job,
            ("POST", "/fine-tunes/estimate-price"): self._price,
            ("GET", "/fine-tunes/models/limits"): self._limits,
            ("GET", "/files"): lambda _: reply({"data": self.files}),
            ("POST", "/files"): self._begin_upload,
            ("GET", "/models"): lambda _: reply([_listed(name) for name in self.models]),
        }
        known = answers.get((request.method, request.path))
        if known is not None:
            return known(request)
        found = re.fullmatch(r"/(files|fine-tunes)/([^/]+)(?:/(\w+))?", request.path)
        if not found:
            return refuse(404, "no such path")
        kind, item_id, verb = found.groups()
        return (self._file if kind == "files" else self._job)(request, item_id, verb)

    def _list_jobs(self, _request: Request) -> Response:
        return reply({"data": [self._truncated(job) for job in self.jobs if self.visible(job)]})

    def _job(self, request: Request, job_id: str, verb: str | None) -> Response:
        job = next((job for job in self.jobs if job["id"] == job_id), None)
        if job is None:
            return refuse(404, f"fine-tune job {job_id} not found")
        match request.method, verb:
            case "GET", None:
                self._look(job)
                return reply({name: value for name, value in job.items() if name not in ONLY_IN_LISTS})
            case "GET", "events":
                return reply({"data": self.events.get(job_id, [])})
            case "GET", "checkpoints":
                return reply({"data": self.checkpoints.get(job_id, [])})
            case "GET", "metrics":
                return reply({"metrics": self.metrics.get(job_id, [])})
            case "POST", "cancel":
                return self._cancel(job)
            case "DELETE", None:
                self.jobs.remove(job)
                return reply({"message": "deleted"})
        return refuse(404, "no such path")

    def _cancel(self, job: dict[str, Any]) -> Response:
        if job["status"] in ENDED:
            return refuse(400, f"job is {job['status']} and can't be cancelled")
        if job["status"] != "cancel_requested":
            job |= {"status": "cancel_requested", "updated_at": self._now()}
            self._waits[job["id"]] = self.looks_until_cancelled
            self.add_event(job["id"], "cancel_requested", "Cancel requested")
        return reply(self._truncated(job))

    def _look(self, job: dict[str, Any]) -> None:
        if job["status"] != "cancel_requested":
            return
        self._waits[job["id"]] -= 1
        if self._waits[job["id"]] < 0:
            job |= {"status": "cancelled", "updated_at": self._now()}

    def _truncated(self, job: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in job.items() if name not in ONLY_ALONE}

    def _create_job(self, request: Request) -> Response:
        body = dict(request.json or {})
        limits = self._limits_for(body.get("model") or body.get("from_checkpoint", "").partition(":")[0])
        problem = next(problems(body, limits, ready=self._ready, takes_max=self.takes_max), None)
        if problem is not None:
            return refuse(400, problem)
        told = {name: value for name, value in body.items() if name not in ("wandb_key", "hf_api_token")}
        if told["batch_size"] == "max" and limits:
            told["batch_size"] = limits["lora_training"]["max_batch_size"]
        return reply(self._truncated(self.add_job(**told)))

    def _limits(self, request: Request) -> Response:
        name = dict(request.query).get("model_name", "")
        limits = self._limits_for(name)
        if limits is None:
            return reply({"message": f"Model {name} is not available for fine-tuning"}, 400)
        return reply({key: value for key, value in limits.items() if key != "names_modules"})

    def _limits_for(self, name: str) -> dict[str, Any] | None:
        """The limits of a base model, or of a job that a training goes on from."""
        own = [job["model"] for job in self.jobs if job["id"] == name]
        return self.models.get(own[0] if own else name)

    def _price(self, request: Request) -> Response:
        body = dict(request.json or {})
        for place, word in (("training_file", "train"), ("validation_file", "eval")):
            if place in body and not self._ready(body[place]):
                reason = f"{word}_file_not_validated"
                return reply({"estimation_available": False, "unavailable_reason": reason})
        tokens = self._tokens(body)
        return reply(
            {
                "estimation_available": True,
                "estimated_total_price": tokens * self.usd_per_million / 1e6,
                "estimated_train_token_count": float(tokens),
                "estimated_eval_token_count": 0.0,
                "allowed_to_proceed": tokens * self.usd_per_million / 1e6 <= self.credit,
                "user_limit": self.credit,
            }
        )

    # --- files ---

    def _begin_upload(self, request: Request) -> Response:
        form = dict(request.form.fields) if request.form else {}
        if request.form is None or request.form.file is not None:
            return refuse(400, "a form of fields is expected, and no file")
        if not {"purpose", "file_name", "file_type", "checksum"} <= form.keys():
            return refuse(400, "a field is missing")
        if not re.fullmatch(r"[0-9a-f]{64}", form["checksum"]) or form["file_type"] not in ("jsonl", "csv", "parquet"):
            return refuse(400, "a field is wrong")
        for file_id, content in self.contents.items():
            if hashlib.sha256(content).hexdigest() == form["checksum"]:
                return reply({"file_id": file_id, "message": "the file exists"}, 409)
        self._ids += 1
        grant = form | {"id": f"file-{self._ids:08d}"}
        headers = {"location": self.storage.sign(grant), "x-together-file-id": grant["id"]}
        return Response(302, headers, b"")

    def _store(self, grant: dict[str, Any], content: bytes) -> None:
        known = {"id": grant["id"], "filename": grant["file_name"], "purpose": grant["purpose"]}
        if grant["id"] not in self.contents:
            number = self._ids
            self.add_file(content, **known, FileType=grant["file_type"], processing_status="PENDING")
            self._ids = number

    def _file(self, request: Request, file_id: str, verb: str | None) -> Response:
        file = next((file for file in self.files if file["id"] == file_id), None)
        if file is None:
            return refuse(404, f"file {file_id} not found")
        match request.method, verb:
            case "POST", "preprocess":
                if file["processing_status"] == "PENDING":
                    file["processing_status"] = "QUEUED"
                    self._waits[file_id] = self.looks_until_processed
                return reply(file)
            case "GET", None:
                told = dict(file)
                self._process(file)
                return reply(told)
            case "GET", "content":
                return Response(200, {"content-type": "application/octet-stream"}, self.contents[file_id])
            case "DELETE", None:
                self.files.remove(file)
                del self.contents[file_id]
                return reply({"id": file_id, "deleted": True})
        return refuse(404, "no such path")

    def _process(self, file: dict[str, Any]) -> None:
        if file["processing_status"] not in ("QUEUED", "RUNNING"):
            return
        self._waits[file["id"]] -= 1
        file["processing_status"] = "RUNNING"
        if self._waits[file["id"]] > 0:
            return
        error = format_error(self.contents[file["id"]])
        file["processing_status"] = "INVALID_FORMAT" if error else "COMPLETED"
        file["validation_report"] = {"valid": error is None, "file_id": file["id"]}
        if error:
            file["validation_report"] |= {"error": error, "error_type": "INVALID_FORMAT"}

    def _ready(self, file_id: str) -> bool:
        """Whether a job can use a file; no file is as good as one."""
        return not file_id or any(
            file["id"] == file_id and file["processing_status"] == "COMPLETED" for file in self.files
        )

    def _tokens(self, body: dict[str, Any]) -> int:
        return len(self.contents.get(body.get("training_file", ""), b"")) // 4 * int(body.get("n_epochs") or 1)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _listed(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "type": "chat"}


def _lists(pairs: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, list[str]]]:
    for name, value in pairs:
        yield name, [value]


def _xml(status: int, code: str, message: str) -> Response:
    content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(status, {"content-type": "application/xml"}, content.encode())
