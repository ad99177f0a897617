"""Fireworks, beside its own client: each reads what the other is answered, and both send the same bodies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fireworks
import pytest
from support.fake_service import reply
from support.fault_server import Fault, FaultServer, answer, cut, drop_after, drop_before, late, reset_after
from support.vendors.fireworks import ACCOUNT, PREFERENCE, ROOT, SIGNED, SUPERVISED, Fireworks

from tuneway import DPO, Client, InvalidSpec, Job, JobSpec, Recipe, Requester, Supervised
from tuneway.calls import Request, Response
from tuneway.dialects import FIREWORKS
from tuneway.errors import JobFailed, QuotaExhausted, TunewayError
from tuneway.flows import Poll, Retry
from tuneway.progress import FileReused, FileUploaded, JobCreated

KEY = "fw-a-key-that-opens-doors"
SPEC = JobSpec(model="llama", training_file="ds-1", method=Supervised(n_epochs=3))
NIGHTLY = Requester(pipeline="nightly", run="2026-11-30", step="train")
JOBS = f"{ROOT}/{SUPERVISED}"
ROWS = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}\n'


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Fireworks, with two datasets."""
    with FaultServer(Fireworks(), prefix="") as server:
        server.service.add_dataset("ds-1")
        server.service.add_dataset("ds-2")
        yield server


@pytest.fixture
def theirs(server: FaultServer) -> Iterator[fireworks.Fireworks]:
    """Their client, which refuses a reply of a wrong shape."""
    with fireworks.Fireworks(
        base_url=server.base_url, api_key=KEY, account_id=ACCOUNT, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
def ours(server: FaultServer) -> Iterator[Client]:
    """Our client."""
    with open_client(server) as client:
        yield client


def open_client(server: FaultServer, **options: Any) -> Client:
    quick: dict[str, Any] = {
        "poll": Poll(minimum=0.001, maximum=0.002), "settle": 0.1, "retry": Retry(first=0.001), "timeout": 2.0,
    }  # fmt: skip
    return Client(
        base_url=server.base_url, api_key=KEY, dialect="fireworks", service_options={"account": ACCOUNT},
        **quick | options,
    )  # fmt: skip


# --- the same bodies ---


INTENTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"model": "llama", "method": Supervised(n_epochs=3), "suffix": "router"},
        {
            "base_model": "accounts/fireworks/models/llama",
            "epochs": 3,
            "output_model": "router",
            "eval_auto_carveout": False,
        },
        SUPERVISED,
    ),
    (
        {
            "model": "accounts/fireworks/models/llama",
            "validation_file": "ds-2",
            "method": Supervised(hyperparameters={"learning_rate": 1e-4, "lora_rank": 8, "batch_size": 4}),
            "extra_body": {"maxContextLength": 4096, "nodes": 1},
        },
        {
            "base_model": "accounts/fireworks/models/llama",
            "evaluation_dataset": f"accounts/{ACCOUNT}/datasets/ds-2",
            "learning_rate": 1e-4,
            "lora_rank": 8,
            "batch_size_samples": 4,
            "max_context_length": 4096,
            "nodes": 1,
            "eval_auto_carveout": False,
        },
        SUPERVISED,
    ),
    (
        {"model": "accounts/acme/models/lora", "extra_body": {"warmStartFrom": "accounts/acme/models/lora"}},
        {"warm_start_from": "accounts/acme/models/lora", "eval_auto_carveout": False},
        SUPERVISED,
    ),
    (
        {"model": "llama", "method": DPO(beta=0.1, n_epochs=2), "suffix": "kind"},
        {
            "loss_config": {"method": "DPO", "dpo": {"beta": 0.1}},
            "training_config": {"base_model": "accounts/fireworks/models/llama", "epochs": 2, "output_model": "kind"},
        },
        PREFERENCE,
    ),
    (
        {
            "model": "llama",
            "method": DPO(n_epochs="auto", hyperparameters={"learning_rate": 1e-5}),
            "extra_body": {"trainingConfig": {"loraRank": 16}, "lossConfig": {"method": "ORPO"}},
        },
        {
            "loss_config": {"method": "ORPO"},
            "training_config": {
                "base_model": "accounts/fireworks/models/llama", "learning_rate": 1e-5, "lora_rank": 16,
            },
        },
        PREFERENCE,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ours_asks", "theirs_asks", "kind"), INTENTS)
def test_the_same_intent_has_the_same_body(
    ours_asks: dict[str, Any], theirs_asks: dict[str, Any], kind: str,
    server: FaultServer, theirs: fireworks.Fireworks, ours: Client,
) -> None:  # fmt: skip
    resource = theirs.supervised_fine_tuning_jobs if kind == SUPERVISED else theirs.dpo_jobs
    resource.create(dataset=f"accounts/{ACCOUNT}/datasets/ds-1", **theirs_asks)  # type: ignore[attr-defined]
    ours.jobs.create(JobSpec(training_file="ds-1", **ours_asks))
    expected, sent = server.asked("POST", f"{ROOT}/{kind}")
    assert sent.json == expected.json
    assert sent.query == expected.query == ""
    assert sent.header("authorization") == expected.header("authorization")


def test_a_submitted_job_has_the_name_and_shows_who_asked(
    server: FaultServer, theirs: fireworks.Fireworks, ours: Client
) -> None:
    job = ours.submit(SPEC.model_copy(update={"suffix": "router"}), requester=NIGHTLY)
    (sent,) = server.asked("POST", JOBS)
    assert sent.query == f"supervisedFineTuningJobId={job.id}"
    assert sent.json["displayName"] == NIGHTLY.origin
    seen = theirs.supervised_fine_tuning_jobs.get(job.id)
    assert seen.name == f"accounts/{ACCOUNT}/{SUPERVISED}/{job.id}"
    assert seen.output_model.startswith("router-")
    assert len(seen.output_model) <= 63
    server.service.finish(server.service.alive[0], "JOB_STATE_FAILED")
    again = ours.submit(SPEC.model_copy(update={"suffix": "router"}), requester=NIGHTLY)
    assert theirs.supervised_fine_tuning_jobs.get(again.id).output_model != seen.output_model


def test_both_make_the_same_dataset_requests(
    server: FaultServer, theirs: fireworks.Fireworks, ours: Client, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(ROWS * 10)
    file = ours.upload(path)
    theirs.datasets.create(
        dataset_id="by-theirs",
        dataset={"display_name": "train.jsonl", "example_count": "10", "user_uploaded": {}, "format": "CHAT"},
    )
    theirs.datasets.upload("by-theirs", file=("by-theirs.jsonl", path.read_bytes()))
    sent, expected = server.asked("POST", f"{ROOT}/datasets")
    assert sent.json["dataset"] == expected.json["dataset"]
    sent, expected = server.asked("POST", f"{ROOT}/datasets/.*:upload")
    assert [(part.named("name"), part.content) for part in sent.parts] == [("file", path.read_bytes())]
    assert [(part.named("name"), part.content) for part in expected.parts] == [("file", path.read_bytes())]
    assert sent.path == f"{ROOT}/datasets/{file.id}:upload"


# --- their client reads what our fake answers ---


def test_their_client_reads_what_the_fake_answers(server: FaultServer, theirs: fireworks.Fireworks) -> None:
    service = server.service
    for number in range(3):
        service.add_job(id=f"s-{number}", state="JOB_STATE_RUNNING", jobProgress={"percent": 10, "epoch": 0})
    service.add_job(PREFERENCE, id="p-1", lossConfig={"method": "DPO", "dpo": {"beta": 0.1}})
    service.finish(service.jobs[SUPERVISED][0])
    service.page_cap = 2
    assert [job.name.rpartition("/")[2] for job in theirs.supervised_fine_tuning_jobs.list()] == ["s-0", "s-1", "s-2"]
    assert [job.state for job in theirs.dpo_jobs.list()] == ["JOB_STATE_CREATING"]
    assert theirs.supervised_fine_tuning_jobs.get("s-0").state == "JOB_STATE_COMPLETED"
    assert theirs.supervised_fine_tuning_jobs.cancel("s-1", body={}) == {}
    assert theirs.supervised_fine_tuning_jobs.resume("s-2", body={}).state == "JOB_STATE_RUNNING"
    theirs.supervised_fine_tuning_jobs.delete("s-2")
    assert [dataset.state for dataset in theirs.datasets.list()] == ["READY", "READY"]
    assert theirs.datasets.get_upload_endpoint("ds-1", filename_to_size={"a": "1"}).filename_to_signed_urls
    theirs.datasets.validate_upload("ds-1", body={})


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda client: client.supervised_fine_tuning_jobs.get("none"), fireworks.NotFoundError),
        (lambda client: _make(client, "job-1"), fireworks.ConflictError),
        (lambda client: _make(client, "Wrong_Name"), fireworks.BadRequestError),
        (lambda client: client.supervised_fine_tuning_jobs.cancel("job-2", body={}), fireworks.BadRequestError),
    ],
)
def test_the_fake_refuses_in_ways_that_their_client_knows(
    ask: Any, error: type[Exception], server: FaultServer, theirs: fireworks.Fireworks
) -> None:
    server.service.add_job(id="job-1")
    server.service.finish(server.service.add_job(id="job-2"))
    with pytest.raises(error):
        ask(theirs)


def _make(client: fireworks.Fireworks, job_id: str) -> object:
    return client.supervised_fine_tuning_jobs.create(
        dataset=f"accounts/{ACCOUNT}/datasets/ds-1", supervised_fine_tuning_job_id=job_id
    )


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
    server.service.datasets_take = 2
    told: list[object] = []
    file = ours.upload(train, on_event=told.append)
    again = ours.upload(train, on_event=told.append)
    assert again.id == file.id
    assert [type(news) for news in told if isinstance(news, FileUploaded | FileReused)] == [FileUploaded, FileReused]
    assert len(server.asked("POST", f"{ROOT}/datasets.*")) == 2
    assert file.filename.startswith("train.sha256-")
    assert server.service.datasets[file.id]["exampleCount"] == "10"


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
    from tuneway.dialects.fireworks import _datasets

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


def test_an_upload_without_an_address_is_an_error(
    server: FaultServer, ours: Client, train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuneway.dialects.fireworks import _datasets

    monkeypatch.setattr(_datasets, "LARGEST_UPLOAD", 100)
    server.service.store = ""
    server.fault(answer({"filenameToSignedUrls": {}}), "POST", ".*:getUploadEndpoint")
    with pytest.raises(TunewayError, match="no address"):
        ours.upload(train)


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
    ({"extra_body": {"warmStartFrom": "accounts/acme/models/other"}}, "warmStartFrom"),
    ({"method": Supervised(n_epochs=1), "hyperparameters": {"n_epochs": 2}}, "hyperparameters"),
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
    assert server.arrived == []


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


# --- the peer, in the same run ---


def test_their_client_leaves_three_jobs_after_one_500_where_ours_leaves_one(server: FaultServer, ours: Client) -> None:
    trouble = answer({"code": 13, "message": "in trouble"}, 500, acts=True, retry_after_ms="1")
    server.fault(trouble, "POST", JOBS, times=2)
    with fireworks.Fireworks(base_url=server.base_url, api_key=KEY, account_id=ACCOUNT) as client:
        client.supervised_fine_tuning_jobs.create(dataset=f"accounts/{ACCOUNT}/datasets/ds-1", base_model="m")
    assert len(server.service.all_jobs) == 3
    server.service.jobs[SUPERVISED].clear()
    server.fault(trouble, "POST", JOBS, times=2)
    ours.submit(SPEC, requester=NIGHTLY)
    assert len(server.service.all_jobs) == 1
