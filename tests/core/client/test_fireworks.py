"""Fireworks: what its dialect sends and understands, and that it leaves one job, whatever fails."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.fake_service import reply
from support.fault_server import (
    Fault,
    FaultServer,
    Line,
    answer,
    cut,
    drop_after,
    drop_before,
    late,
    reset_after,
    serialise,
)
from support.vendors.fireworks import ACCOUNT, PREFERENCE, ROOT, SIGNED, SUPERVISED, Fireworks, refuse
from support.vendors.fireworks_client import JOBS, KEY, NIGHTLY, ROWS, SPEC, open_client, serving
from support.vendors.table import act_twice

from tuneway import DPO, Client, InvalidSpec, Job, JobSpec, Recipe, Requester, Supervised
from tuneway.calls import Request, Response, Source
from tuneway.dialects import FIREWORKS
from tuneway.dialects.fireworks import _datasets
from tuneway.dialects.fireworks._resources import dataset_id
from tuneway.errors import BadRequest, Forbidden, JobFailed, QuotaExhausted, SubmitUncertain, TunewayError
from tuneway.progress import FileReused, FileUploaded, JobCreated


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving() as server:
        yield server


@pytest.fixture
def ours(server: FaultServer) -> Iterator[Client]:
    """Our client."""
    with open_client(server) as client:
        yield client


# --- our client reads it too ---


def test_a_job_is_read_with_all_that_it_says(server: FaultServer, ours: Client) -> None:
    made = ours.submit(SPEC, requester=NIGHTLY)
    record = server.service.alive[0]
    record |= {"state": "JOB_STATE_RUNNING", "epochs": 3, "batchSizeSamples": 4, "loraRank": 8}
    job = ours.jobs.retrieve(made.id)
    assert (job.status, job.phase, job.created_at) == ("JOB_STATE_RUNNING", "running", 1_000_000)
    assert (job.model, job.fine_tuned_model) == ("accounts/fireworks/models/llama", None)
    assert (job.training_file, job.validation_file) == ("ds-1", None)
    assert job.resolved == {"n_epochs": 3, "batch_size": 4, "lora_rank": 8}
    server.service.finish(record)
    done = ours.wait(made.id)
    assert done.fine_tuned_model == f"accounts/{ACCOUNT}/models/{made.id}"
    assert done.seconds == 0
    assert SIGNED not in repr(done)
    assert "example.com" not in repr(done)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("JOB_STATE_CREATING", "pending"), ("JOB_STATE_RE_QUEUEING", "pending"), ("JOB_STATE_IDLE", "running"),
        ("JOB_STATE_CANCELLING", "running"), ("JOB_STATE_PAUSED", "paused"), ("JOB_STATE_EARLY_STOPPED", "succeeded"),
        ("JOB_STATE_EXPIRED", "failed"), ("JOB_STATE_DELETING", "cancelled"),
    ],
)  # fmt: skip
def test_every_state_has_its_phase(state: str, phase: str, server: FaultServer, ours: Client) -> None:
    server.service.add_job(id="job-1", state=state)
    assert ours.jobs.retrieve("job-1").phase == phase


@pytest.mark.parametrize(("code", "again"), [("INTERNAL", True), ("INVALID_ARGUMENT", False)])
def test_a_failed_job_says_why(code: str, again: bool, server: FaultServer, ours: Client) -> None:
    job = server.service.add_job(id="job-1")
    server.service.finish(job, "JOB_STATE_FAILED", status={"code": code, "message": "the rows are too long"})
    with pytest.raises(JobFailed, match="the rows are too long") as caught:
        ours.wait("job-1")
    assert caught.value.retryable is again


def test_an_id_says_which_kind_it_is(server: FaultServer, ours: Client) -> None:
    job = ours.submit(JobSpec(model="llama", training_file="ds-1", method=DPO(beta=0.1)), requester=NIGHTLY)
    assert job.id.startswith("dpoJobs/tw-")
    assert job.resolved == {"beta": 0.1}
    full = f"accounts/{ACCOUNT}/{job.id}"
    assert ours.jobs.retrieve(full).id == ours.jobs.retrieve(job.id).id == job.id
    assert ours.cancel(job.id).phase == "cancelled"
    assert server.asked("POST", f"{ROOT}/{job.id}:cancel")[0].json == {}


def test_lists_of_both_kinds_are_read_to_their_end(server: FaultServer, ours: Client) -> None:
    server.service.page_cap = 2
    for number in range(5):
        server.service.add_job(id=f"s-{number}")
        server.service.add_job(PREFERENCE, id=f"p-{number}")
    found = {job.id for job in ours.jobs.list()}
    assert found == {f"s-{number}" for number in range(5)} | {f"dpoJobs/p-{number}" for number in range(5)}
    server.service.jobs[SUPERVISED].clear()
    assert {job.id for job in ours.jobs.list()} == {f"dpoJobs/p-{number}" for number in range(5)}
    server.service.jobs[PREFERENCE].clear()
    assert list(ours.jobs.list()) == []
    assert [file.id for file in ours.files.list()] == ["ds-1", "ds-2"]


@pytest.mark.parametrize("awaited", [SUPERVISED, PREFERENCE])
def test_a_look_at_many_jobs_of_one_kind_reads_few_pages_of_the_other(
    awaited: str, server: FaultServer, ours: Client
) -> None:
    counts = {SUPERVISED: 500, PREFERENCE: 500} | {awaited: 1000}
    for kind, count in counts.items():
        for number in range(count):
            server.service.add_job(kind, id=f"j-{number}")
    prefix = "dpoJobs/" if awaited == PREFERENCE else ""
    looked = ours.look([f"{prefix}j-{number}" for number in range(1000)])
    assert {one.phase for one in looked if isinstance(one, Job)} == {"pending"}
    assert len(looked) == 1000
    assert len(server.service.log) <= 16


def test_a_list_whose_next_page_is_the_same_one_ends(server: FaultServer, ours: Client) -> None:
    for number in range(3):
        server.service.add_job(id=f"s-{number}")
        server.service.add_job(PREFERENCE, id=f"p-{number}")
    server.service.stuck = True
    assert [job.id for job in ours.jobs.list()] == ["s-0", "dpoJobs/p-0"]
    assert len(server.service.log) <= 6


def test_what_is_not_there_is_empty_or_refused(server: FaultServer, ours: Client) -> None:
    server.service.add_job(id="job-1")
    assert list(ours.jobs.events("job-1")) == []
    assert list(ours.jobs.checkpoints("job-1")) == []
    with pytest.raises(InvalidSpec, match="pause"):
        ours.jobs.pause("job-1")
    assert ours.jobs.resume("job-1").status == "JOB_STATE_RUNNING"
    with pytest.raises(InvalidSpec, match="doesn't offer"):
        ours.files.content("ds-1")


def test_models_say_whether_they_can_be_tuned(server: FaultServer, ours: Client) -> None:
    server.service.models = [{"name": "accounts/fireworks/models/llama", "tunable": True}]
    assert [(model.id, model.tunable) for model in ours.models.list()] == [("accounts/fireworks/models/llama", True)]
    assert ours.models.retrieve("accounts/acme/models/m").id == "accounts/acme/models/m"
    assert ours.models.delete("accounts/acme/models/m").deleted
    assert ours.files.delete("ds-2").deleted


# --- bodies; their client is asked for the same in tests/services ---


BASE = "accounts/fireworks/models/llama"
BODIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"validation_file": "ds-2", "suffix": "router", "method": Supervised(n_epochs=3, batch_size="auto")},
        {
            "baseModel": BASE, "epochs": 3, "outputModel": "router", "evalAutoCarveout": False,
            "evaluationDataset": f"accounts/{ACCOUNT}/datasets/ds-2",
        },
    ),
    (
        {"model": "accounts/a/models/lora", "extra_body": {"warmStartFrom": "accounts/a/models/lora", "nodes": 1}},
        {"warmStartFrom": "accounts/a/models/lora", "nodes": 1, "evalAutoCarveout": False},
    ),
    (
        {"method": DPO(beta=0.1, hyperparameters={"lora_rank": 8}), "extra_body": {"trainingConfig": {"region": "US"}}},
        {
            "lossConfig": {"method": "DPO", "dpo": {"beta": 0.1}},
            "trainingConfig": {"baseModel": BASE, "loraRank": 8, "region": "US"},
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "body"), BODIES)
def test_a_body_has_fireworks_names(
    fields: dict[str, Any], body: dict[str, Any], server: FaultServer, ours: Client
) -> None:
    ours.jobs.create(JobSpec(**{"model": "llama", "training_file": "ds-1"} | fields))
    (sent,) = server.asked("POST", f"{ROOT}/(?:{SUPERVISED}|{PREFERENCE})")
    assert sent.json == body | {"dataset": f"accounts/{ACCOUNT}/datasets/ds-1"}


# --- files ---


@dataclass
class Store:
    """The store that signed addresses lead to."""

    service: Fireworks
    log: list[Request] = field(default_factory=list)

    def handle(self, request: Request) -> Response:
        self.log.append(request)
        dataset_id = request.path.rpartition("/")[2].removesuffix(".jsonl")
        self.service.contents[dataset_id] = b"there"
        return reply({})


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text(ROWS * 10)
    return path


def test_data_is_sent_once_and_found_again_by_its_hash(server: FaultServer, ours: Client, train: Path) -> None:
    server.service.datasets_take = 1
    told: list[object] = []
    file = ours.upload(train, on_event=told.append)
    again = ours.upload(train, on_event=told.append)
    assert again.id == file.id
    assert [type(news) for news in told if isinstance(news, FileUploaded | FileReused)] == [FileUploaded, FileReused]
    assert len(server.asked("POST", f"{ROOT}/datasets.*")) == 2
    assert file.filename.startswith("train.sha256-")
    assert server.service.datasets[file.id]["exampleCount"] == "10"


def test_rows_that_are_no_file_are_sent_too(server: FaultServer, ours: Client) -> None:
    file = ours.upload([json.loads(ROWS)] * 10)
    assert server.service.datasets[file.id]["exampleCount"] == "10"
    assert server.service.contents[file.id].count(b"\n") == 10


class Counted(io.RawIOBase):
    """Data that counts how often it is read."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.reads = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.reads += 1
        return self._data.readinto(buffer)


def test_rows_are_counted_with_few_reads() -> None:
    data = Counted((ROWS * 2000 + "\n").encode())

    class Spool:
        """A temporary file."""

        def open(self) -> Any:
            return data

    assert _datasets._survey(Source(Spool(), 1)) == {"exampleCount": "2000", "format": "CHAT"}
    assert data.reads < 10


@pytest.mark.parametrize(
    ("row", "facts"),
    [
        (b'{"prompt": "a", "completion": "b"}', {"format": "COMPLETION"}),
        (b'{"input": {}, "preferred_output": [], "non_preferred_output": []}', {}),
    ],
)
def test_the_format_is_told_where_fireworks_has_one(row: bytes, facts: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n" + row)
    assert _datasets._survey(Source(path, 1)) == {"exampleCount": "1", **facts}


def test_an_upload_that_was_killed_is_sent_again_under_the_same_id(
    server: FaultServer, ours: Client, train: Path
) -> None:
    first = ours.upload(train)
    server.service.datasets[first.id]["state"] = "UPLOADING"
    server.service.contents.clear()
    server.forget()
    assert ours.upload(train).id == first.id
    assert server.service.contents[first.id] == train.read_bytes()
    assert len(server.asked("POST", f"{ROOT}/datasets")) == 0


def test_a_large_file_goes_to_the_store_without_the_key(
    server: FaultServer, ours: Client, train: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_datasets, "LARGEST_UPLOAD", 100)
    with FaultServer(Store(server.service), prefix="") as store, caplog.at_level(logging.DEBUG):  # type: ignore[arg-type]
        server.service.store = f"{store.origin}/store"
        file = ours.upload(train)
        (put,) = store.asked("PUT")
    size = train.stat().st_size
    assert (put.size, put.body) == (size, train.read_bytes())
    assert put.header("authorization") is None
    assert put.header("content-type") == "application/octet-stream"
    assert put.header("x-goog-content-length-range") == f"{size},{size}"
    (asked,) = server.asked("POST", ".*:getUploadEndpoint")
    assert asked.json == {"filenameToSize": {f"{file.id}.jsonl": str(size)}}
    assert len(server.asked("POST", ".*:validateUpload")) == 1
    assert "s3cret" not in caplog.text


def test_what_a_store_repeats_of_a_signed_address_is_hidden(
    server: FaultServer, ours: Client, train: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tuneway.dialects.fireworks import _datasets

    monkeypatch.setattr(_datasets, "LARGEST_UPLOAD", 100)
    signed, plain = "a%2Fsignature-of-nobody", "a/signature-of-nobody"
    with FaultServer(Store(server.service), prefix="") as store, caplog.at_level(logging.DEBUG):  # type: ignore[arg-type]
        said = f"{signed} doesn't match {plain}"
        store.fault(answer(said.encode(), 403, kind="text/plain", x_said=plain), "PUT", times=9)
        address = {
            f"{file_id}.jsonl": f"{store.origin}/up?sig={signed}"
            for file_id in [dataset_id(hashlib.sha256(train.read_bytes()).hexdigest())]
        }
        server.fault(answer({"filenameToSignedUrls": address}), "POST", ".*:getUploadEndpoint", times=9)
        with pytest.raises(TunewayError, match="doesn't match") as caught:
            ours.upload(train)
    assert "signature-of-nobody" not in f"{caught.value!r} {caught.value} {caplog.text}"


def test_an_upload_without_an_address_is_an_error(
    server: FaultServer, ours: Client, train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_datasets, "LARGEST_UPLOAD", 100)
    server.service.store = ""
    server.fault(answer({"filenameToSignedUrls": {}}), "POST", ".*:getUploadEndpoint")
    with pytest.raises(TunewayError, match="no address"):
        ours.upload(train)


@pytest.mark.parametrize("step", ["create", "upload"])
def test_a_process_that_was_faster_has_sent_the_data(step: str, server: FaultServer, ours: Client, train: Path) -> None:
    """What is sent to a dataset that is ready is refused."""

    data = train.read_bytes()

    async def faster(line: Line) -> None:
        path = line.arrival.path
        dataset_id = line.arrival.json["datasetId"] if step == "create" else path.rpartition("/")[2].partition(":")[0]
        server.service.add_dataset(dataset_id)
        server.service.contents[dataset_id] = data
        await line.write(line.act() if step == "create" else serialise(refuse(9, "the dataset is ready")))

    paths = {"create": f"{ROOT}/datasets", "upload": f"{ROOT}/datasets/.*:upload"}
    server.fault(Fault(faster, stays=True), "POST", paths[step])
    file = ours.upload(train)
    assert server.service.datasets[file.id]["state"] == "READY"
    assert len(server.asked("POST", ".*:upload")) == (step == "upload")


def test_an_upload_that_is_refused_is_an_error(server: FaultServer, ours: Client, train: Path) -> None:
    server.fault(answer({"code": 3, "message": "not JSON"}, 400), "POST", ".*:upload")
    with pytest.raises(BadRequest, match="not JSON"):
        ours.upload(train)


def test_data_that_fireworks_refuses_is_an_error_with_its_reason(
    server: FaultServer, ours: Client, train: Path
) -> None:
    fault = {"status": {"code": "INVALID_ARGUMENT", "message": "row 7 has no messages"}, "state": "UPLOADING"}
    server.fault(answer({"code": 5, "message": "not found"}, 404), "GET", f"{ROOT}/datasets/.*")
    server.fault(answer({"name": f"accounts/{ACCOUNT}/datasets/ds-x", **fault}), "GET", f"{ROOT}/datasets/.*")
    with pytest.raises(BadRequest, match="row 7 has no messages"):
        ours.upload(train)


def test_data_that_is_never_ready_is_worth_another_try(
    server: FaultServer, ours: Client, train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_datasets, "PATIENCE", 0.0)
    server.service.datasets_take = 1
    with pytest.raises(SubmitUncertain, match="isn't ready") as caught:
        ours.upload(train)
    assert caught.value.retryable


def test_datasets_have_no_end(ours: Client, train: Path) -> None:
    with pytest.raises(InvalidSpec, match="expires_after"):
        ours.upload(train, expires_after=3600)


@pytest.mark.parametrize("step", ["GET", "create", "upload"])
@pytest.mark.parametrize("fault", [drop_before(), drop_after(), cut(20), answer({"code": 14, "message": "x"}, 503)])
def test_an_upload_with_a_fault_is_one_dataset(
    fault: Fault, step: str, server: FaultServer, ours: Client, train: Path
) -> None:
    paths = {"GET": ("GET", f"{ROOT}/datasets/.*"), "create": ("POST", f"{ROOT}/datasets")}
    server.fault(fault, *paths.get(step, ("POST", f"{ROOT}/datasets/.*:upload")))
    file = ours.upload(train)
    assert server.service.contents == {file.id: train.read_bytes()}
    assert set(server.service.datasets) == {"ds-1", "ds-2", file.id}


# --- refused before anything is sent ---


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"seed": 7}, "seed"),
    ({"metadata": {"team": "search"}}, "metadata"),
    ({"method": Supervised(learning_rate_multiplier=2.0)}, "learning_rate_multiplier"),
    ({"method": DPO(beta=0.5)}, "beta"),
    ({"method": DPO(), "validation_file": "ds-2"}, "validation_file"),
    ({"suffix": "Not An Id"}, "suffix"),
    ({"suffix": "x" * 41}, "suffix"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
    ({"extra_body": {"displayName": "mine"}}, "displayName"),
    ({"extra_body": {"method": {"type": "supervised", "supervised": {"grader": {}}}}}, "method"),
    ({"extra_body": {"warmStartFrom": "accounts/acme/models/other"}}, "warmStartFrom"),
    ({"method": Supervised(n_epochs=1), "hyperparameters": {"n_epochs": 2}}, "hyperparameters"),
    ({"method": Supervised(batch_size=8, hyperparameters={"batch_size_samples": 16})}, "batch_size_samples"),
]


@pytest.mark.parametrize(("fields", "field"), REFUSED, ids=[field for _, field in REFUSED])
def test_what_fireworks_does_not_take_is_refused_before_anything_is_sent(
    fields: dict[str, Any], field: str, server: FaultServer, ours: Client
) -> None:
    with pytest.raises(InvalidSpec, match="fireworks") as caught:
        ours.submit(JobSpec(**{"model": "llama", "training_file": "ds-1"} | fields))
    assert caught.value.field == field
    assert server.arrived == []


def test_reinforcement_is_refused(server: FaultServer, ours: Client) -> None:
    grader = {"type": "string_check", "name": "g", "operation": "eq", "input": "a", "reference": "b"}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    with pytest.raises(InvalidSpec, match="doesn't offer 'reinforcement'"):
        ours.submit(JobSpec(model="llama", training_file="ds-1", validation_file="ds-2", method=method))
    with pytest.raises(InvalidSpec, match="doesn't offer 'reinforcement'"):
        ours.jobs.create(JobSpec(model="llama", training_file="ds-1", validation_file="ds-2", method=method))
    assert server.arrived == []


def test_a_refused_list_is_an_error(server: FaultServer, ours: Client) -> None:
    for path in (JOBS, "/v1/accounts/fireworks/models"):
        server.fault(answer({"code": 7, "message": "not yours"}, 403), "GET", path)
    with pytest.raises(Forbidden, match="not yours"):
        list(ours.jobs.list())
    with pytest.raises(Forbidden, match="not yours"):
        list(ours.models.list())


def test_a_refused_cancel_is_an_error_that_names_the_job(server: FaultServer, ours: Client) -> None:
    server.service.add_job(id="job-1")
    server.fault(answer({"code": 9, "message": "not now"}, 400), "POST", f"{JOBS}/job-1:cancel", times=9)
    with pytest.raises(BadRequest, match="not now") as caught:
        ours.cancel("job-1")
    assert caught.value.job_id == "job-1"


def test_a_recipe_is_refused_by_the_check_as_well(ours: Client, train: Path) -> None:
    with pytest.raises(InvalidSpec, match="validation_file"):
        ours.check(Recipe(model="llama", training_data=train, validation_data=train, method=DPO()))


@pytest.mark.parametrize("account", ["", "not/one"])
def test_an_account_is_needed(account: str) -> None:
    with pytest.raises(InvalidSpec, match="account"):
        Client(base_url="https://api.fireworks.ai", api_key=KEY, service_options={"account": account})


def test_the_variables_of_their_client_are_read(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREWORKS_API_KEY", "from the environment")
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", ACCOUNT)
    for address in ("", "/v1", "/inference/v1"):
        with Client(base_url=server.base_url + address, dialect="fireworks") as client:
            client.files.retrieve("ds-1")
    assert {arrival.header("authorization") for arrival in server.arrived} == {"Bearer from the environment"}
    assert {arrival.path for arrival in server.arrived} == {f"{ROOT}/datasets/ds-1"}


def test_their_address_is_known() -> None:
    assert FIREWORKS.speaks("api.fireworks.ai")
    assert not FIREWORKS.speaks("fireworks.ai.example.com")


# --- one job, whatever fails ---


FAULTS = {
    "twice": Fault(act_twice, stays=True),
    "drop before": drop_before(),
    "drop after": drop_after(),
    "reset after": reset_after(),
    "late": late(3.0),
    "cut": cut(60),
    "503 before": answer({"code": 14, "message": "in trouble"}, 503),
    "503 after": answer({"code": 14, "message": "in trouble"}, 503, acts=True),
    "429": answer({"code": 8, "message": "slow down"}, 429, retry_after="0"),
    "a page": answer(b"<html>Sign in</html>", kind="text/html"),
}


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("late", "429")])
@pytest.mark.parametrize("times", [1, 2])
def test_a_create_with_a_fault_leaves_one_job(name: str, times: int, server: FaultServer, ours: Client) -> None:
    server.fault(FAULTS[name], "POST", JOBS, times=times)
    job = ours.submit(SPEC, requester=NIGHTLY)
    assert [record["name"].rpartition("/")[2] for record in server.service.all_jobs] == [job.id]
    assert ours.submit(SPEC, requester=NIGHTLY).id == job.id


@pytest.mark.slow
@pytest.mark.parametrize("name", ["late", "429"])
def test_a_create_that_takes_its_time_leaves_one_job(name: str, server: FaultServer, ours: Client) -> None:
    server.fault(FAULTS[name], "POST", JOBS)
    job = ours.submit(SPEC, requester=NIGHTLY)
    assert [record["name"].rpartition("/")[2] for record in server.service.all_jobs] == [job.id]


@pytest.mark.parametrize("fault", [drop_after(), answer({"code": 14, "message": "in trouble"}, 503, acts=True)])
def test_a_method_in_extra_body_gives_the_job_its_kind(fault: Fault, server: FaultServer, ours: Client) -> None:
    spec = JobSpec(model="llama", training_file="ds-1", extra_body={"method": {"type": "dpo", "dpo": {}}})
    server.fault(fault, "POST", f"{ROOT}/{PREFERENCE}")
    job = ours.submit(spec, requester=NIGHTLY)
    assert [record["name"] for record in server.service.all_jobs] == [f"accounts/{ACCOUNT}/{job.id}"]
    assert ours.submit(spec, requester=NIGHTLY).id == job.id


def test_a_client_that_is_killed_with_a_create_on_its_way_leaves_one_job(server: FaultServer, ours: Client) -> None:
    class Killed(BaseException):
        """The process ends."""

    def kill(news: object) -> None:
        if isinstance(news, JobCreated):
            raise Killed

    with pytest.raises(Killed):
        ours.submit(SPEC, requester=NIGHTLY, on_event=kill)
    job = ours.submit(SPEC, requester=NIGHTLY)
    assert [record["name"].rpartition("/")[2] for record in server.service.all_jobs] == [job.id]


def test_two_clients_at_once_leave_one_job(server: FaultServer, ours: Client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def submit(_: int) -> Job:
        with open_client(server) as client:
            return client.submit(SPEC, requester=NIGHTLY)

    with ThreadPoolExecutor(4) as pool:
        jobs = list(pool.map(submit, range(4)))
    assert len({job.id for job in jobs}) == len(server.service.all_jobs) == 1


@pytest.mark.slow
def test_a_quota_is_told_and_not_asked_again(server: FaultServer, ours: Client) -> None:
    server.service.quota = 0
    with pytest.raises(QuotaExhausted, match="GPU quota") as caught:
        ours.submit(SPEC, requester=NIGHTLY)
    assert not caught.value.retryable
    assert len(server.asked("POST", JOBS)) == 1


def test_all_jobs_of_a_requester_are_cancelled(server: FaultServer, ours: Client) -> None:
    mine = [
        ours.submit(SPEC, requester=NIGHTLY).id,
        ours.submit(JobSpec(model="llama", training_file="ds-1", method=DPO()), requester=NIGHTLY).id,
    ]
    other = ours.submit(SPEC, requester=Requester(pipeline="weekly"))
    server.service.add_job(id="not-ours")
    assert sorted(job.id for job in ours.cancel_made_by(NIGHTLY)) == sorted(mine)
    alive = {record["name"].rpartition("/")[2] for record in server.service.alive}
    assert alive == {other.id, "not-ours"}


def test_chat_has_an_address_of_its_own(server: FaultServer, ours: Client) -> None:
    from tuneway import calls, flows

    flow = flows.request(ours._account, calls.models.chat("accounts/acme/models/m", [{"role": "user", "content": "x"}]))
    assert ours._driver.run(flow, None) == "hello"
    assert [arrival.path for arrival in server.arrived] == ["/inference/v1/chat/completions"]
