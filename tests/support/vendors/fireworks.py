"""Fireworks in memory: its paths, names, states and refusals. No socket, no sleep, no training."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from support.fake_service import content_of, reply

from tuneway.calls import Request, Response

ACCOUNT = "acme"
ROOT = f"/v1/accounts/{ACCOUNT}"
SUPERVISED, PREFERENCE = "supervisedFineTuningJobs", "dpoJobs"
ID_PARAMETERS = {SUPERVISED: "supervisedFineTuningJobId", PREFERENCE: "dpoJobId"}
REQUIRED = {SUPERVISED: {"dataset"}, PREFERENCE: {"dataset"}}
OVER = ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EARLY_STOPPED")
STATUS_CODES = {3: 400, 5: 404, 6: 409, 8: 429, 9: 400, 14: 503}
ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
SIGNED = "https://store.example/metrics?sig=s3cret"
LARGEST_FORM = 150 * 1000**2

_RESOURCE = re.compile(rf"{ROOT}/(?P<kind>\w+)(?:/(?P<id>[^/:]+)(?::(?P<verb>\w+))?)?")


@dataclass
class Fireworks:
    """State, switches, and one door: `handle`.

    `datasets_take` is how many looks a dataset takes until it is ready; `store` is where large files are sent.
    A service that is `stuck` gives the first job of a list again and again.
    """

    clock: Callable[[], float] = lambda: 1_000_000.0
    page_cap: int = 200
    stuck: bool = False
    datasets_take: int = 0
    store: str = "http://127.0.0.1:1/store"
    quota: int | None = None
    jobs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {SUPERVISED: [], PREFERENCE: []})
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    _looks: dict[str, int] = field(default_factory=dict)
    _named: int = 0

    # --- what tests do behind the service's door ---

    @property
    def all_jobs(self) -> list[dict[str, Any]]:
        """The jobs of both kinds."""
        return [job for jobs in self.jobs.values() for job in jobs]

    @property
    def alive(self) -> list[dict[str, Any]]:
        """The jobs that are billed: those that run or have succeeded."""
        return [job for job in self.all_jobs if job["state"] not in ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED")]

    def add_job(self, kind: str = SUPERVISED, **fields: Any) -> dict[str, Any]:
        """A job from elsewhere."""
        job_id = fields.pop("id", None) or f"job-{len(self.all_jobs) + 1}"
        training = {"baseModel": "accounts/fireworks/models/base", "outputModel": job_id}
        job = {
            "name": f"accounts/{ACCOUNT}/{kind}/{job_id}",
            "state": "JOB_STATE_CREATING",
            "status": {"code": "OK", "message": ""},
            "dataset": f"accounts/{ACCOUNT}/datasets/ds-1",
            "createTime": self.now,
            "updateTime": self.now,
            "createdBy": "somebody@example.com",
            "estimatedCost": {"currencyCode": "USD", "units": "1", "nanos": 500_000_000},
            **(training if kind == SUPERVISED else {"trainingConfig": training}),
        } | fields
        self.jobs[kind].append(job)
        return job

    def finish(self, job: dict[str, Any], state: str = "JOB_STATE_COMPLETED", **fields: Any) -> None:
        """Let a job end."""
        job |= {
            "state": state,
            "completedTime": self.now,
            "metricsFileSignedUrl": "https://store/x?sig=s3cret",
        } | fields

    def add_dataset(self, dataset_id: str, **fields: Any) -> dict[str, Any]:
        """A dataset from elsewhere."""
        self.datasets[dataset_id] = {
            "name": f"accounts/{ACCOUNT}/datasets/{dataset_id}",
            "displayName": dataset_id,
            "state": "READY",
            "exampleCount": "10",
            "userUploaded": {},
            "createTime": self.now,
        } | fields
        return self.datasets[dataset_id]

    @property
    def now(self) -> str:
        """The time, as Fireworks writes it."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat().replace("+00:00", "Z")

    def requests(self, method: str, path: str) -> list[Request]:
        """What reached the service, of this kind."""
        return [request for request in self.log if request.method == method and re.fullmatch(path, request.path)]

    # --- the door ---

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        self.log.append(request)
        if request.path == "/inference/v1/chat/completions":
            return reply({"choices": [{"message": {"role": "assistant", "content": "hello"}}]})
        if request.path.startswith("/v1/accounts/fireworks/models"):
            return reply({"models": self.models, "nextPageToken": "", "totalSize": len(self.models)})
        found = _RESOURCE.fullmatch(request.path)
        kinds = {SUPERVISED: self._job, PREFERENCE: self._job, "datasets": self._dataset, "models": self._model}
        if found is None or found["kind"] not in kinds:
            return refuse(5, f"no such path: {request.path}")
        return kinds[found["kind"]](request, found["kind"], found["id"], found["verb"])

    def _model(self, request: Request, kind: str, model_id: str | None, verb: str | None) -> Response:
        del kind, verb
        if request.method == "DELETE":
            return reply({})
        name = f"accounts/{ACCOUNT}/models/{model_id}"
        return reply({"name": name}) if model_id else reply({"models": [], "nextPageToken": "", "totalSize": 0})

    def _page(self, request: Request, kind: str, items: list[dict[str, Any]]) -> Response:
        query = dict(request.query)
        size = min(int(query.get("pageSize", 50)), self.page_cap)
        start = int(query.get("pageToken") or 0)
        if self.stuck:
            start, size = 0, 1
        token = str(start + size) if start + size < len(items) else ""
        return reply({kind: items[start : start + size], "nextPageToken": token, "totalSize": len(items)})

    def _job(self, request: Request, kind: str, job_id: str | None, verb: str | None) -> Response:
        if job_id is None:
            newest_first = sorted(self.jobs[kind], key=lambda job: job["createTime"], reverse=True)
            return (
                self._create_job(request, kind) if request.method == "POST" else self._page(request, kind, newest_first)
            )
        name = f"accounts/{ACCOUNT}/{kind}/{job_id}"
        job = next((job for job in self.jobs[kind] if job["name"] == name), None)
        if job is None:
            return refuse(5, f"{name} not found")
        if request.method == "DELETE":
            self.jobs[kind].remove(job)
            return reply({})
        match verb:
            case "cancel" if job["state"] in OVER:
                return refuse(9, f"{name} has ended")
            case "cancel":
                self.finish(job, "JOB_STATE_CANCELLED")
                return reply({})
            case "resume":
                job["state"] = "JOB_STATE_RUNNING"
        return reply(job)

    def _create_job(self, request: Request, kind: str) -> Response:
        body = dict(request.json or {})
        job_id = dict(request.query).get(ID_PARAMETERS[kind])
        if job_id is None:
            self._named += 1
            job_id = f"random-{self._named}"
        if not ID.fullmatch(job_id):
            return refuse(3, f"invalid id: {job_id}")
        if any(job["name"].endswith(f"/{job_id}") for job in self.jobs[kind]):
            return refuse(6, f"{kind} {job_id} already exists")
        if body.get("dataset", "").rpartition("/")[2] not in self.datasets:
            return refuse(5, f"{body.get('dataset')} not found")
        if self.quota is not None and len(self.alive) >= self.quota:
            return refuse(8, "GPU quota exceeded")
        training = body if kind == SUPERVISED else body.setdefault("trainingConfig", {})
        training.setdefault("outputModel", job_id)
        return reply(self.add_job(kind, id=job_id, **body))

    def _dataset(self, request: Request, kind: str, dataset_id: str | None, verb: str | None) -> Response:
        if dataset_id is None:
            return (
                self._create_dataset(request)
                if request.method == "POST"
                else self._page(request, kind, list(self.datasets.values()))
            )
        dataset = self.datasets.get(dataset_id)
        if dataset is None:
            return refuse(5, f"{dataset_id} not found")
        if request.method == "DELETE":
            del self.datasets[dataset_id]
            return reply({})
        match verb:
            case "upload":
                return self._upload(request, dataset_id)
            case "getUploadEndpoint":
                self._sizes = (request.json or {})["filenameToSize"]
                return reply(
                    {"filenameToSignedUrls": {name: f"{self.store}/{name}?sig=s3cret" for name in self._sizes}}
                )
            case "validateUpload":
                dataset["state"] = "READY"
                return reply({})
        if dataset["state"] == "UPLOADING" and dataset_id in self.contents:
            self._looks[dataset_id] = self._looks.get(dataset_id, 0) + 1
            dataset["state"] = "READY" if self._looks[dataset_id] > self.datasets_take else "UPLOADING"
        return reply(dataset)

    def _upload(self, request: Request, dataset_id: str) -> Response:
        assert request.form is not None
        assert request.form.file is not None
        content = content_of(request.form.file)
        if len(content) > LARGEST_FORM:
            return refuse(3, "too large")
        self.contents[dataset_id] = content
        return reply(
            {"id": dataset_id, "object": "file", "bytes": len(content), "filename": "x", "purpose": "fine-tune"}
        )

    def _create_dataset(self, request: Request) -> Response:
        body = dict(request.json or {})
        if not ID.fullmatch(body["datasetId"]):
            return refuse(3, f"invalid id: {body['datasetId']}")
        if body["datasetId"] in self.datasets:
            return refuse(6, f"dataset {body['datasetId']} already exists")
        return reply(self.add_dataset(body["datasetId"], state="UPLOADING", **body["dataset"]))


def refuse(code: int, message: str) -> Response:
    """A refusal as a gateway in front of gRPC makes it."""
    return reply({"code": code, "message": message, "details": []}, STATUS_CODES[code])
