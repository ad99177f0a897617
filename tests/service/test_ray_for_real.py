"""Jobs on a real Ray head of this machine: trained, cancelled, paused, killed, and the head itself killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from openai import OpenAI
from support.openai_jobs import chats, openai_for, slow_job, submit, wait_for
from support.real_ray import TOKEN, RealRay, real_ray
from support.service import RunningService, running_service, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'ray[default]'"),
]

EPOCHS, ROWS = 6, 600
STEPS = EPOCHS * ROWS
KNOBS = {
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": 1}}},
    "seed": 3,
}
SECONDS = 180.0


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the head asks for."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


@pytest.fixture(scope="module")
def ray() -> Iterator[RealRay]:
    """One head for all tests."""
    with real_ray() as head:
        yield head


@contextmanager
def served(ray: RealRay | None = None, **options) -> Iterator[tuple[RunningService, OpenAI]]:
    """A service that has its jobs run by the head, or by itself."""
    if ray is not None:
        options = {"executor": "ray", "ray_address": ray.address} | options
    with running_service(**options) as service, openai_for(service) as client:
        yield service, client


def start(client: OpenAI) -> str:
    file = client.files.create(file=("a.jsonl", chats(ROWS)), purpose="fine-tune")
    return submit(client, file.id, **KNOBS).id


def jobs_dir(service: RunningService) -> Path:
    return Path(service.options.get("job_storage", service.data_dir)) / "jobs"


def weights(service: RunningService, job_id: str) -> str:
    digest = hashlib.sha256()
    for path in sorted((jobs_dir(service) / job_id / "model").rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def story(client: OpenAI, job_id: str) -> list[str]:
    """What the job told, its steps aside."""
    events = client.fine_tuning.jobs.list_events(job_id, limit=100)
    return [event.message for event in events if event.type != "metrics"][::-1]


def steps(client: OpenAI, job_id: str) -> list[int]:
    events = client.fine_tuning.jobs.list_events(job_id, limit=100)
    return [event.data["step"] for event in events if event.type == "metrics"][::-1]


def training(client: OpenAI, job_id: str) -> None:
    """Wait until it trains."""

    def told() -> bool:
        page = client.fine_tuning.jobs.list_events(job_id, limit=20)
        return any(event.type == "metrics" for event in page.data)

    until(told, seconds=SECONDS)


def worker(service: RunningService, job_id: str) -> int:
    return int(json.loads((jobs_dir(service) / job_id / "lease.json").read_bytes())["pid"])


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or b"service.worker" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def submissions(ray: RealRay, job_id: str) -> set[str]:
    return {name for name in ray.jobs() if name.startswith(job_id)}


@pytest.fixture(scope="module")
def untouched() -> str:
    """The weights as this machine trains them by itself."""
    with served() as (service, client):
        job_id = start(client)
        assert wait_for(client, job_id, seconds=SECONDS).status == "succeeded"
        return weights(service, job_id)


def finishes_the_same(service: RunningService, client: OpenAI, job_id: str, untouched: str) -> list[str]:
    done = wait_for(client, job_id, seconds=SECONDS)
    assert done.status == "succeeded", done.error
    assert weights(service, job_id) == untouched
    assert steps(client, job_id) == list(range(1, STEPS + 1))
    told = story(client, job_id)
    assert sum(text.startswith("Checkpoint created") for text in told) == EPOCHS
    assert sum(text.startswith("New fine-tuned model") for text in told) == 1
    assert client.files.content(done.result_files[0]).read()
    return told


def test_a_job_trains_on_the_cluster_to_the_same_weights_as_here(ray, untouched, tmp_path):
    """Its folder is on shared storage, which the cluster has mounted at another path."""
    (tmp_path / "share").mkdir()
    (tmp_path / "mount").symlink_to(tmp_path / "share")
    with served(ray, job_storage=tmp_path / "share", ray_jobs_dir=tmp_path / "mount" / "jobs") as (service, client):
        job_id = start(client)
        told = finishes_the_same(service, client, job_id, untouched)
        assert any(text.startswith("Running on the Ray node") for text in told)
        assert submissions(ray, job_id) == {job_id}
        # what the worker printed, Ray's first lines included
        assert f"{tmp_path}/mount/jobs/{job_id} 1" in (jobs_dir(service) / job_id / "worker.log").read_text()
        job = client.fine_tuning.jobs.retrieve(job_id)
        asked = [{"role": "user", "content": "Ticket 1: there is trouble with my phone."}]
        answer = client.chat.completions.create(model=job.fine_tuned_model, messages=asked, temperature=0)
        assert answer.choices[0].message.content == "mobile"


@pytest.mark.skipif(find_spec("fsspec") is None, reason="needs the extra `stores`")
def test_a_job_goes_to_the_cluster_and_comes_back_by_a_store(ray, untouched, tmp_path):
    with served(ray, ray_jobs_url=f"file://{tmp_path}/store") as (service, client):
        job_id = start(client)
        training(client, job_id)
        service.kill()
        service.start()
        told = finishes_the_same(service, client, job_id, untouched)
        assert not any("interrupted" in text for text in told)
        assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_a_cancelled_job_leaves_the_cluster(ray):
    with served(ray) as (service, client):
        job_id = slow_job(client).id
        training(client, job_id)
        pid = worker(service, job_id)
        client.fine_tuning.jobs.cancel(job_id)
        until(lambda: gone(pid), seconds=SECONDS)
        until(lambda: ray.jobs()[job_id]["status"] in ("SUCCEEDED", "STOPPED"), seconds=SECONDS)
        assert client.fine_tuning.jobs.retrieve(job_id).status == "cancelled"


def test_a_worker_that_does_not_listen_is_killed_by_ray(ray):
    with served(ray) as (service, client):
        job_id = slow_job(client).id
        training(client, job_id)
        pid = worker(service, job_id)
        os.kill(pid, signal.SIGSTOP)
        client.fine_tuning.jobs.cancel(job_id)
        until(lambda: gone(pid), seconds=SECONDS)
        until(lambda: ray.jobs()[job_id]["status"] == "STOPPED", seconds=SECONDS)


def test_a_paused_job_gives_up_its_place_and_goes_on_to_the_same_weights(ray, untouched):
    with served(ray) as (service, client):
        job_id = start(client)
        training(client, job_id)
        client.fine_tuning.jobs.pause(job_id)
        wait_for(client, job_id, "paused", seconds=SECONDS)
        assert gone(worker(service, job_id))
        client.fine_tuning.jobs.resume(job_id)
        told = finishes_the_same(service, client, job_id, untouched)
        assert any(text.startswith("Resuming from step") for text in told)
        assert submissions(ray, job_id) == {job_id, f"{job_id}-2"}


@pytest.mark.parametrize("victim", ["worker", "ray's actor"])
def test_a_killed_worker_is_replaced_and_goes_on(ray, untouched, victim):
    with served(ray) as (service, client):
        job_id = start(client)
        training(client, job_id)
        pid = worker(service, job_id)
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(pid if victim == "worker" else parent, signal.SIGKILL)
        told = finishes_the_same(service, client, job_id, untouched)
        why = "killed by SIGKILL" if victim == "worker" else "Job supervisor actor died"
        assert sum("interrupted" in text and why in text for text in told) == 1, told
        assert submissions(ray, job_id) == {job_id, f"{job_id}-2"}


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_restarted_service_finds_its_job_at_work(ray, untouched, how):
    with served(ray) as (service, client):
        job_id = start(client)
        training(client, job_id)
        pid = worker(service, job_id)
        getattr(service, how)()
        assert not (service.data_dir / "jobs" / job_id / "stop").exists()
        service.start()
        told = finishes_the_same(service, client, job_id, untouched)
        assert not any("Resuming from step" in text or "interrupted" in text for text in told)
        assert worker(service, job_id) == pid
        assert submissions(ray, job_id) == {job_id}


def test_a_job_that_waits_for_room_can_be_paused_and_cancelled(ray):
    with served(ray, ray_gpus=1) as (_, client):
        first = slow_job(client).id
        until(lambda: first in ray.jobs(), seconds=SECONDS)
        client.fine_tuning.jobs.pause(first)
        wait_for(client, first, "paused", seconds=SECONDS)
        second = slow_job(client).id
        until(lambda: second in ray.jobs(), seconds=SECONDS)
        client.fine_tuning.jobs.cancel(second)
        # its place is free again, though Ray has it still
        client.fine_tuning.jobs.resume(first)
        until(lambda: f"{first}-2" in ray.jobs(), seconds=SECONDS)
        client.fine_tuning.jobs.cancel(first)
        assert not any("interrupted" in text for text in story(client, first))


def test_without_its_key_the_cluster_is_out_of_reach_and_the_job_waits(ray, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another-" * 8)
    with served(ray) as (service, client):
        job_id = slow_job(client).id
        until(lambda: any("RAY_AUTH_TOKEN" in text for text in story(client, job_id)), seconds=SECONDS)
        assert client.fine_tuning.jobs.retrieve(job_id).status == "running"
        assert job_id not in ray.jobs()
        assert "another-" not in service.log
        client.fine_tuning.jobs.cancel(job_id)


def test_a_cluster_that_does_not_want_the_job_fails_it_with_the_reason(ray):
    with served(ray, ray_runtime_env='{"pip": 7}') as (_, client):
        done = wait_for(client, slow_job(client).id, seconds=SECONDS)
        assert done.status == "failed"
        assert "runtime_env" in done.error.message


def test_a_head_that_is_killed_and_started_anew_loses_no_job(ray, untouched):
    with served(ray) as (service, client):
        job_id = start(client)
        training(client, job_id)
        ray.kill()
        until(lambda: any("gives no status of the job" in text for text in story(client, job_id)), seconds=SECONDS)
        assert client.fine_tuning.jobs.retrieve(job_id).status == "running"
        ray.start()
        told = finishes_the_same(service, client, job_id, untouched)
        assert any("has forgotten the job" in text for text in told)
        assert submissions(ray, job_id) == {f"{job_id}-2"}
        with suppress(FileNotFoundError):
            assert list((service.data_dir / "jobs" / job_id / "state").iterdir()) == []
