"""Jobs underway: files that don't do, pausing, cancelling, how many train at once, what is left at the end."""

from __future__ import annotations

import time

import openai
import pytest
from support.datasets import to_bytes
from support.openai_jobs import chats, slow_job, submit, ticket, wait_for
from support.service import until

# files that don't do


def test_too_few_examples_fail_the_job(client):
    file = client.files.create(file=("few.jsonl", chats(9)), purpose="fine-tune")
    job = wait_for(client, submit(client, file.id).id)
    assert job.status == "failed"
    assert (job.error.code, job.error.param) == ("invalid_n_examples", "training_file")
    assert "9 example" in job.error.message
    assert job.finished_at
    assert job.fine_tuned_model is None
    assert client.fine_tuning.jobs.list_events(job.id).data[0].level == "error"


def test_bad_rows_fail_the_job_and_the_line_is_named(client):
    rows = [ticket(number) for number in range(12)]
    rows[4]["messages"] = [{"role": "user", "content": "hello"}]
    file = client.files.create(file=("bad.jsonl", to_bytes(rows)), purpose="fine-tune")
    job = wait_for(client, submit(client, file.id).id)
    assert job.status == "failed"
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert "line 5" in job.error.message.lower()


def test_a_job_keeps_its_data_when_the_file_is_deleted(client):
    file = client.files.create(file=("mine.jsonl", chats(30)), purpose="fine-tune")
    job = submit(client, file.id)
    client.files.delete(file.id)
    assert wait_for(client, job.id).status == "succeeded"


# steering


def test_hyperparameters_may_come_in_their_old_place(client, training_file):
    job = wait_for(client, submit(client, training_file, hyperparameters={"n_epochs": 2, "batch_size": "auto"}).id)
    assert job.hyperparameters.n_epochs == 2
    assert isinstance(job.hyperparameters.batch_size, int)
    assert job.method.supervised.hyperparameters.n_epochs == 2


def test_a_running_job_is_cancelled_for_good(client):
    job = wait_for(client, slow_job(client).id, "running")
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at
    for act in (client.fine_tuning.jobs.cancel, client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.BadRequestError, match="cancelled") as caught:
            act(job.id)
        assert caught.value.code == "invalid_job_status"
    assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"


def test_a_job_that_has_ended_keeps_no_data(client, service, training_file):
    ended = wait_for(client, submit(client, training_file).id)
    queued = submit(client, training_file)
    client.fine_tuning.jobs.cancel(queued.id)

    def kept() -> set[str]:
        folders = [service.data_dir / "jobs" / job_id for job_id in (ended.id, queued.id)]
        return {path.name for folder in folders for path in folder.iterdir()}

    until(lambda: not kept() & {"training.jsonl", "state"})
    assert "model" in kept()


@pytest.mark.slow
def test_a_paused_job_rests_and_then_goes_on_where_it_was(client):
    job = wait_for(client, slow_job(client, epochs=3, rows=300).id, "running")
    paused = client.fine_tuning.jobs.pause(job.id)
    assert paused.status == "paused"
    before = steps(client, job.id)
    time.sleep(0.2)
    assert steps(client, job.id) == before
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.pause(job.id)
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    done = wait_for(client, job.id)
    assert done.status == "succeeded"
    assert steps(client, job.id) == list(range(1, 901))
    assert any(
        "Resuming from step" in event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)
    )


def steps(client, job_id: str) -> list[int]:
    events = client.fine_tuning.jobs.list_events(job_id, limit=100)
    return sorted(event.data["step"] for event in events if event.type == "metrics")


def test_a_running_job_estimates_its_end(client):
    job = slow_job(client)
    end = wait_for_estimate(client, job.id)
    assert end >= time.time() - 1
    client.fine_tuning.jobs.cancel(job.id)
    assert client.fine_tuning.jobs.retrieve(job.id).estimated_finish is None


def wait_for_estimate(client, job_id: str):
    deadline = time.monotonic() + 20
    while (end := client.fine_tuning.jobs.retrieve(job_id).estimated_finish) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return end


@pytest.mark.slow
def test_only_so_many_train_at_once(client):
    jobs = [slow_job(client) for _ in range(4)]
    for job in jobs:
        wait_for(client, job.id, "queued", "running")
    time.sleep(0.2)
    statuses = [client.fine_tuning.jobs.retrieve(job.id).status for job in jobs]
    assert statuses == ["running", "running", "queued", "queued"]
    assert client.fine_tuning.jobs.pause(jobs[3].id).status == "paused"
    client.fine_tuning.jobs.cancel(jobs[0].id)
    wait_for(client, jobs[2].id, "running")
    assert client.fine_tuning.jobs.retrieve(jobs[3].id).status == "paused"
    for job in jobs[1:]:
        client.fine_tuning.jobs.cancel(job.id)


# checkpoint permissions


def test_permissions_are_granted_listed_and_revoked(client, training_file, service):
    job = wait_for(client, submit(client, training_file).id)
    name = client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint
    permissions = client.fine_tuning.checkpoints.permissions
    granted = permissions.create(name, project_ids=["proj_a", "proj_b"])
    assert {item.project_id for item in granted.data} == {"proj_a", "proj_b"}
    assert len(list(permissions.create(name, project_ids=["proj_a"]))) == 1
    assert len(list(permissions.list(name, limit=1))) == 2
    assert [item.project_id for item in permissions.list(name, project_id="proj_b").data] == ["proj_b"]
    assert permissions.delete(granted.data[0].id, fine_tuned_model_checkpoint=name).deleted
    assert len(list(permissions.list(name))) == 1
    with pytest.raises(openai.NotFoundError):
        permissions.delete(granted.data[0].id, fine_tuned_model_checkpoint=name)
    with pytest.raises(openai.NotFoundError):
        permissions.create("ft:nobody", project_ids=["p"])
