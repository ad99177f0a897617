"""The steps, as flows use them: each one's output is the next one's input, in two forms."""

from __future__ import annotations

import asyncio
import logging
import os
from types import SimpleNamespace

import pytest
from blockbuster import blockbuster_ctx
from prefect import flow, task, unmapped
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.client.orchestration import get_client
from support.datasets import good_rows, write
from support.fault_server import answer, drop_after

import prefect_tuneway
from prefect_tuneway import (
    FineTuningCredentials,
    acreate_fine_tuning_job,
    aupload_training_file,
    await_for_fine_tuning_job,
    cancel_fine_tuning_job,
    create_fine_tuning_job,
    evaluate_model,
    fine_tune,
    pause_fine_tuning_job,
    register_model,
    resume_fine_tuning_job,
    upload_training_file,
    validate_training_data,
    wait_for_fine_tuning_job,
)
from prefect_tuneway import tasks as all_tasks
from prefect_tuneway._data import log_news
from prefect_tuneway._steps import Here, arun, run
from tuneway.errors import InvalidDataset, InvalidSpec, JobFailed, RateLimited, Unauthorized, WaitTimeout
from tuneway.progress import Answered, Retrying
from tuneway.registry import open_registry

TASKS = [getattr(all_tasks, name) for name in all_tasks.__all__ if name != "worth_retrying"]


def test_a_flow_hands_each_steps_output_to_the_next_as_it_is(server, data):
    @flow
    def nightly():
        file = upload_training_file(str(data))
        job = create_fine_tuning_job(model="gpt-4o-mini", training_file=file)
        done = wait_for_fine_tuning_job(job)
        return register_model(done, name="support-router")

    told = nightly()
    assert told["ref"] == "support-router:1"
    assert told["model_id"] == server.service.jobs[0]["fine_tuned_model"]
    assert server.service.jobs[0]["metadata"]["tuneway_origin"].startswith("prefect: nightly / ")


def test_the_rows_of_a_task_are_the_data_of_the_next(server, credentials):
    @task
    def tickets():
        return [{"ticket": f"Order {number} is late", "team": "shipping"} for number in range(40)]

    @flow
    def nightly():
        how = {"validation_data": 0.4, "row": {"user": "{ticket}", "assistant": "{team}"}, "order": "content"}
        rows = tickets()
        checked = validate_training_data(rows, **how)
        file = upload_training_file(rows, credentials=credentials, **how)
        return checked, file

    checked, file = nightly()

    assert file["rows"] + file["validation"]["rows"] == checked["rows"] + checked["validation"]["rows"] == 40
    assert len(server.service.files) == 2


@pytest.mark.parametrize("asked", [{"n_epochs": 3, "batch_size": "auto"}, {}])
def test_a_registered_model_tells_what_was_asked_for_when_its_steps_were_apart(server, credentials, asked):
    server.service.add_file(id="file-1")

    @flow
    def nightly():
        method = {"type": "supervised", **asked}
        told = {"training_file": "file-1", "method": method, "credentials": credentials}
        done = wait_for_fine_tuning_job(create_fine_tuning_job(model="gpt-4o-mini", **told), credentials=credentials)
        return done, register_model(done, name="router")

    done, version = nightly()
    assert done.get("requested", {}) == asked
    assert open_registry(os.environ["TUNEWAY_REGISTRY_URI"]).get(version["ref"]).record.requested == asked


def test_a_model_of_which_only_the_jobs_id_is_known_tells_nothing_that_was_asked_for(server, credentials):
    server.service.add_file(id="file-1")

    @flow
    def nightly():
        told = {"training_file": "file-1", "method": {"type": "supervised", "n_epochs": 3}, "credentials": credentials}
        job = create_fine_tuning_job(model="m", **told)
        return register_model(wait_for_fine_tuning_job(job["job_id"], credentials=credentials)["job_id"], name="router")

    assert open_registry(os.environ["TUNEWAY_REGISTRY_URI"]).get(nightly()["ref"]).record.requested == {}


@pytest.fixture
def pair(tmp_path):
    """Training and validation data."""
    rows = good_rows(count=30)
    return {
        "training_data": write(tmp_path / "train.jsonl", rows[:20]),
        "validation_data": write(tmp_path / "valid.jsonl", rows[20:]),
    }


def test_files_that_are_uploaded_together_are_checked_trained_and_registered_together(server, credentials, pair):
    access = {"credentials": credentials}

    @flow
    def nightly():
        file = upload_training_file(**pair, **access)
        job = create_fine_tuning_job(model="base", training_file=file, **access)
        return file, register_model(wait_for_fine_tuning_job(job, **access), name="router", **access)

    file, version = nightly()
    assert (file["rows"], file["validation"]["rows"]) == (20, 10)
    job = server.service.jobs[0]
    assert (job["training_file"], job["validation_file"]) == (file["file_id"], file["validation"]["file_id"])
    record = open_registry(os.environ["TUNEWAY_REGISTRY_URI"]).get(version["ref"]).record
    assert (record.training.rows, record.validation.rows) == (20, 10)


def test_files_that_are_uploaded_apart_are_registered_with_their_rows_too(server, credentials, pair):
    access = {"credentials": credentials}

    @flow
    def nightly():
        train = upload_training_file(pair["training_data"], **access)
        valid = upload_training_file(validation_data=pair["validation_data"], **access)
        job = create_fine_tuning_job(model="base", training_file=train, validation_file=valid, **access)
        return register_model(wait_for_fine_tuning_job(job, **access), name="router", **access)

    record = open_registry(os.environ["TUNEWAY_REGISTRY_URI"]).get(nightly()["ref"]).record
    assert (record.training.rows, record.validation.rows) == (20, 10)


def test_the_checks_output_tells_the_rows_of_files_that_were_uploaded_unchecked(server, credentials, pair):
    access = {"credentials": credentials}

    @flow
    def nightly():
        data = validate_training_data(**pair, model="base")
        file = upload_training_file(**pair, validate=False, **access)
        done = wait_for_fine_tuning_job(create_fine_tuning_job(model="base", training_file=file, **access), **access)
        return register_model(done, name="router", data=data, **access)

    record = open_registry(os.environ["TUNEWAY_REGISTRY_URI"]).get(nightly()["ref"]).record
    assert (record.training.rows, record.validation.rows) == (20, 10)


def test_a_pair_with_the_same_rows_is_refused_by_check_and_upload(server, credentials, pair):
    same = {"training_data": pair["training_data"], "validation_data": pair["training_data"]}
    with pytest.raises(InvalidDataset, match=r"row\.overlap"):
        validate_training_data(**same)
    with pytest.raises(InvalidDataset, match=r"row\.overlap"):
        upload_training_file(**same, credentials=credentials)
    assert not server.arrived


def test_few_validation_rows_are_a_warning_together_and_alone(server, credentials, pair, tmp_path):
    few = write(tmp_path / "few.jsonl", good_rows(count=30)[25:])
    assert validate_training_data(pair["training_data"], validation_data=few)["validation"]["warnings"] == 1
    assert upload_training_file(validation_data=few, credentials=credentials)["rows"] == 5
    with pytest.raises(InvalidDataset):
        upload_training_file(few, credentials=credentials)


def test_an_unknown_reuse_is_refused_before_anything_is_sent(server, credentials):
    with pytest.raises(InvalidSpec, match="often"):
        create_fine_tuning_job(model="base", training_file="file-1", reuse="often", credentials=credentials)
    assert not server.arrived


def test_a_model_is_registered_where_its_credentials_say(server, credentials, tmp_path):
    server.service.add_job(id="ftjob-1", status="succeeded", fine_tuned_model="ft:m", model="m")
    uri = f"sqlite:///{tmp_path / 'theirs.db'}"
    register_model("ftjob-1", name="router", credentials=credentials.model_copy(update={"registry": uri}))
    assert open_registry(uri).get("router").record.job_id == "ftjob-1"


async def test_no_awaited_step_blocks_the_loop(server, credentials, data):
    @flow
    async def nightly():
        file = await aupload_training_file(str(data), credentials=credentials)
        job = await acreate_fine_tuning_job(model="gpt-4o-mini", training_file=file, credentials=credentials)
        return await await_for_fine_tuning_job(job, credentials=credentials)

    with blockbuster_ctx(["tuneway", "prefect_tuneway"]):
        assert (await nightly())["status"] == "succeeded"


def test_steps_can_be_submitted_and_mapped(server, credentials, tmp_path, data):
    other = tmp_path / "other.jsonl"
    other.write_text(data.read_text().replace("you", "thou"))

    @flow
    def fan_out():
        same = unmapped(credentials)
        files = upload_training_file.map([str(data), str(other)], credentials=same)
        made = create_fine_tuning_job.map(model=unmapped("gpt-4o-mini"), training_file=files, credentials=same)
        return wait_for_fine_tuning_job.map(made, credentials=same).result()

    assert {done["status"] for done in fan_out()} == {"succeeded"}
    assert len(server.service.jobs) == 2


async def test_awaited_steps_can_be_submitted_too(server, credentials):
    server.service.add_file(id="file-1")

    @flow
    async def nightly():
        job = acreate_fine_tuning_job.submit(model="gpt-4o-mini", training_file="file-1", credentials=credentials)
        return await_for_fine_tuning_job.submit(job, credentials=credentials).result()

    assert (await nightly())["status"] == "succeeded"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.fn.__name__)
def test_each_step_takes_options_and_caches_nothing(task):
    assert task.cache_policy is NO_CACHE
    other = task.with_options(name="mine", retries=7, tags=["gpu"])
    assert (other.name, other.retries, other.tags) == ("mine", 7, {"gpu"})
    assert task.tags == {"tuneway"}
    assert task.description


def test_a_policy_of_your_own_can_leave_the_credentials_out(server, credentials):
    server.service.add_file(id="file-1")
    cached = create_fine_tuning_job.with_options(cache_policy=INPUTS - "credentials", persist_result=True)

    @flow
    def twice():
        other = FineTuningCredentials(base_url=server.base_url, api_key="sk-another-key", options={"settle": 0})
        return [
            cached(model="m", training_file="file-1", credentials=access, return_state=True).name
            for access in (credentials, other)
        ]

    assert twice() == ["Completed", "Cached"]


def test_jobs_are_paused_resumed_and_cancelled(server, credentials):
    server.service.ends = None
    server.service.add_job(id="ftjob-1", status="running")

    @flow
    def control():
        told = {"job_id": "ftjob-1", "requested": {"n_epochs": 3}}
        return [
            step(told, credentials=credentials)
            for step in (pause_fine_tuning_job, resume_fine_tuning_job, cancel_fine_tuning_job, cancel_fine_tuning_job)
        ]

    told = control()
    assert [job["status"] for job in told] == ["paused", "queued", "cancelled", "cancelled"]
    assert all(job["requested"] == {"n_epochs": 3} for job in told)


def test_a_model_is_measured_beside_its_base(server, credentials, data):
    told = evaluate_model({"fine_tuned_model": "ft:m"}, str(data), base="m", credentials=credentials, concurrency=1)
    assert (told["tuned"]["model"], told["base"]["model"], told["questions"]) == ("ft:m", "m", 24)


def test_the_log_has_one_line_for_answers_that_come_together(monkeypatch):
    lines = []
    logger = SimpleNamespace(info=lambda _form, news: lines.append(str(news)))
    monkeypatch.setattr("prefect_tuneway._runs.logger", lambda: logger)
    retrying = Retrying(RateLimited("busy"), 1.0, 1)
    log_news([Answered(1, 4), Answered(2, 4), retrying, Answered(3, 4)])
    log_news([])
    assert lines == ["2 of 4 answers", str(retrying), "3 of 4 answers"]


def test_data_with_errors_fails_at_once_and_names_the_line(server, data, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text(data.read_text() + '{"messages": []}\n')
    with pytest.raises(InvalidDataset, match="25"):
        fine_tune(training_data=str(bad), model="gpt-4o-mini")
    assert not server.arrived or not server.asked("POST", "/files")
    assert validate_training_data(str(data), model="gpt-4o-mini")["rows"] == 24


def test_what_no_retry_cures_is_not_tried_again(server, credentials):
    server.fault(answer({"error": {"message": "no such key"}}, status=401), times=99)
    step = create_fine_tuning_job.with_options(retry_delay_seconds=0)
    with pytest.raises(Unauthorized, match="no such key"):
        step(model="m", training_file="file-1", credentials=credentials)
    assert len(server.arrived) == 1


def test_a_create_whose_reply_is_lost_is_tried_again_and_adopts_its_job(server, credentials):
    server.service.add_file(id="file-1")
    server.fault(drop_after(), "POST", "/fine_tuning/jobs")
    server.fault(answer({"error": {"message": "down"}}, status=503), "GET", "/fine_tuning/jobs", times=1)
    step = create_fine_tuning_job.with_options(retry_delay_seconds=0)
    told = step(model="m", training_file="file-1", credentials=credentials)
    assert [job["id"] for job in server.service.jobs] == [told["job_id"]]


def test_a_job_that_failed_fails_the_step_with_the_services_reason(server, credentials):
    server.service.ends = "failed"
    server.service.add_file(id="file-1")

    @flow
    def nightly():
        job = create_fine_tuning_job(model="m", training_file="file-1", credentials=credentials)
        return wait_for_fine_tuning_job(job, credentials=credentials)

    with pytest.raises(JobFailed, match="line 3 is no good"):
        nightly()


@pytest.mark.parametrize(("cancels", "reuse", "end"), [
    (False, "run", "validating_files"), (True, "run", "cancelled"), (True, "content", "validating_files"),
])  # fmt: skip
def test_a_wait_ends_with_its_deadline_once_over_all_retries(server, credentials, cancels, reuse, end):
    server.service.ends = None
    server.service.add_file(id="file-1")
    wait = wait_for_fine_tuning_job.with_options(retry_delay_seconds=0)
    if reuse == "content":  # another run has made the job
        create_fine_tuning_job(model="m", training_file="file-1", credentials=credentials)

    @flow
    def nightly():
        job = create_fine_tuning_job(model="m", training_file="file-1", credentials=credentials, reuse=reuse)
        wait(job, credentials=credentials, timeout=0.2, cancel_on_timeout=cancels)

    with pytest.raises(WaitTimeout):
        nightly()
    assert [job["status"] for job in server.service.jobs] == [end]


def test_a_job_that_a_flow_was_only_given_is_not_cancelled_when_the_time_is_up(server, credentials):
    server.service.add_job(id="ftjob-1", status="running")
    with pytest.raises(WaitTimeout):
        wait_for_fine_tuning_job("ftjob-1", credentials=credentials, timeout=0.2, cancel_on_timeout=True)
    assert server.service.job("ftjob-1")["status"] == "running"


def test_more_pairs_than_leave_room_for_ours_are_refused_before_anything_is_sent(server, credentials):
    with pytest.raises(InvalidSpec, match="at most 13"):
        create_fine_tuning_job(
            model="m", training_file="file-1", credentials=credentials, metadata={f"k{n}": "v" for n in range(14)}
        )
    assert not server.arrived


def test_the_jobs_log_is_in_the_tasks_log_and_the_key_is_in_none(server, credentials, caplog):
    caplog.set_level(logging.INFO)
    server.service.add_file(id="file-1")

    @flow
    def nightly():
        job = create_fine_tuning_job(model="m", training_file="file-1", credentials=credentials)
        return wait_for_fine_tuning_job(job, credentials=credentials)

    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logging.getLogger(name).setLevel(logging.INFO)
    nightly()
    assert "Step 20/20: training loss=0.1" in caplog.text
    assert "sk-hidden" not in caplog.text


def test_a_stored_block_is_taken_by_its_name(server, credentials):
    credentials.save("in-store", overwrite=True, _sync=True)
    server.service.add_job(id="ftjob-1", status="running")
    assert cancel_fine_tuning_job("ftjob-1", credentials="in-store")["status"] == "cancelled"


async def test_an_awaited_wait_can_be_given_up(server, credentials):
    server.service.add_job(id="ftjob-1", status="running")
    waiting = asyncio.create_task(prefect_tuneway.await_for_fine_tuning_job.fn("ftjob-1", credentials=credentials))
    while not server.asked("GET", "/fine_tuning/jobs/ftjob-1"):  # noqa: ASYNC110 - another process's doing
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("do", [run, lambda step: asyncio.run(arun(step))], ids=["sync", "async"])
def test_a_step_that_is_given_up_has_left_before_its_caller_hears_of_it(do):
    left = []

    def give_up():
        raise GivenUp

    def step():
        try:
            yield Here(give_up)
        finally:
            left.append(True)

    with pytest.raises(GivenUp) as told:  # which holds on to all that the step has, as a task that failed does
        do(step())
    assert told
    assert left


class GivenUp(BaseException):
    """No error: like a cancel, or Ctrl-C."""


def test_prefect_knows_the_collection():
    from prefect.plugins import load_prefect_collections
    from prefect.utilities.dispatch import get_registry_for_type

    assert load_prefect_collections()["prefect_tuneway"] is prefect_tuneway
    known = get_registry_for_type(prefect_tuneway.FineTuningCredentials.__mro__[1])
    assert known["fine-tuning-credentials"] is prefect_tuneway.FineTuningCredentials


def test_a_run_leaves_labels_for_a_cancel_only_where_blocks_are_stored(server, credentials):
    server.service.add_file(id="file-1")

    @flow
    def nightly():
        create_fine_tuning_job(model="m", training_file="file-1", credentials=credentials)

    state = nightly(return_state=True)
    with get_client(sync_client=True) as client:
        labels = client.read_flow_run(state.state_details.flow_run_id).labels
    assert not [label for label in labels if label.startswith("tuneway")]
