"""Gangs under the real service: what becomes of a job when one of its processes is killed, and when it is cancelled."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from openai import OpenAI
from support.openai_jobs import chats, openai_for, submit, wait_for
from support.service import RunningService, running_service, until

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from support.gangs import metrics, processes
from support.tiny_llama import make_tiny_llama

from tuneway_service.folder import JobFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SECONDS = 240.0


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[RunningService]:
    """A service all of whose jobs have two devices."""
    folder = tmp_path_factory.mktemp("service")
    base = make_tiny_llama(folder / "tiny")
    with running_service(models={"gpt-4o-mini": str(base), "plain": "bytes"}, gpus="cpu:2", gpus_per_job=2) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[OpenAI]:
    with openai_for(service) as made:
        yield made


def start(client: OpenAI, service: RunningService, *, epochs: int, batch_size: int = 8) -> JobFolder:
    file = client.files.create(file=("train.jsonl", chats(40)), purpose="fine-tune").id
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs, "batch_size": batch_size}}}
    job = submit(client, file, method=method, seed=4)
    return JobFolder(service.data_dir / "jobs" / job.id)


def messages(client: OpenAI, job_id: str) -> list[str]:
    events = client.fine_tuning.jobs.list_events(job_id, limit=100)
    return [event.message for event in events if event.type != "metrics"][::-1]


def test_a_job_one_of_whose_processes_is_killed_goes_on_from_its_last_state(client, service):
    folder = start(client, service, epochs=20)
    until(lambda: folder.state() is not None, seconds=SECONDS)
    os.kill(processes(folder)["1"], signal.SIGKILL)
    done = wait_for(client, folder.path.name, seconds=SECONDS)
    assert done.status == "succeeded", done.error
    told = messages(client, folder.path.name)
    assert sum("interrupted" in text and "rank 1 was killed by SIGKILL" in text for text in told) == 1, told
    assert sum(text.startswith("Resuming from step") for text in told) == 1
    assert sorted(metrics(folder)) == list(range(1, 101))
    assert processes(folder) == {}


def test_a_paused_gang_leaves_its_place_and_a_cancelled_one_leaves_no_process(client, service):
    folder = start(client, service, epochs=50, batch_size=1)
    until(lambda: metrics(folder), seconds=SECONDS)
    assert len(processes(folder)) == 4
    client.fine_tuning.jobs.pause(folder.path.name)
    wait_for(client, folder.path.name, "paused", seconds=SECONDS)
    until(lambda: not processes(folder), seconds=SECONDS)
    step, _ = folder.state()
    assert step == max(metrics(folder))
    client.fine_tuning.jobs.resume(folder.path.name)
    until(lambda: max(metrics(folder)) > step, seconds=SECONDS)
    client.fine_tuning.jobs.cancel(folder.path.name)
    until(lambda: not processes(folder), seconds=SECONDS)
    assert client.fine_tuning.jobs.retrieve(folder.path.name).status == "cancelled"


def test_a_restarted_service_finds_the_gang_at_work(client, service):
    folder = start(client, service, epochs=30)
    until(lambda: metrics(folder), seconds=SECONDS)
    before = processes(folder)
    service.kill()
    service.start()
    done = wait_for(client, folder.path.name, seconds=SECONDS)
    assert done.status == "succeeded", done.error
    assert len(before) == 4
    assert not any("interrupted" in text or "Resuming" in text for text in messages(client, folder.path.name))


def test_a_job_has_as_many_devices_as_it_asks_for(client, service):
    file = client.files.create(file=("train.jsonl", chats(40)), purpose="fine-tune").id
    both = submit(client, file, seed=5).id
    one = submit(client, file, seed=6, extra_body={"gpus": 1}).id
    plain = submit(client, file, seed=7, model="plain").id
    for job_id in (both, one, plain):
        assert wait_for(client, job_id, seconds=SECONDS).status == "succeeded"

    assert "The job trains on cpu:0 and cpu:1" in messages(client, both)
    assert "2 processes train together, one on each device" in messages(client, both)
    assert "The job trains on cpu:0" in messages(client, one)
    assert not any("trains on" in text for text in messages(client, plain))
