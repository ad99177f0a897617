"""kill -9: of the service, of a worker, of both, at any moment. No job is lost and none is trained twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from support.openai_jobs import TERMINAL, chats, openai_for, submit, wait_for
from support.service import RunningService, running_service, until

from tuneway_service.supervisor import LOSSES_ALLOWED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KNOBS = {
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 6, "batch_size": 1}}},
    "seed": 3,
}
ROWS = 600  # seconds of training, so that there is something to kill
STEPS = 6 * ROWS


def weights(service: RunningService, job_id: str) -> str:
    digest = hashlib.sha256()
    for path in sorted((service.data_dir / "jobs" / job_id / "model").rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def record(service: RunningService, job_id: str) -> dict[str, Any]:
    connection = sqlite3.connect(service.data_dir / "tuneway.db")
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone())
    connection.close()
    return row


def worker_pid(service: RunningService, job_id: str) -> int | None:
    try:
        return int(json.loads((service.data_dir / "jobs" / job_id / "lease.json").read_bytes())["pid"])
    except (OSError, ValueError):
        return None


def may_lose_more(service: RunningService) -> bool:
    """Whether every job is some losses away from being given up: a busy machine starts workers slowly."""
    connection = sqlite3.connect(service.data_dir / "tuneway.db")
    worst = connection.execute("SELECT MAX(losses) FROM jobs WHERE step <= step_at_start AND occupied").fetchone()[0]
    connection.close()
    return (worst or 0) < LOSSES_ALLOWED - 2


def kill_worker(service: RunningService, job_id: str) -> None:
    pid = worker_pid(service, job_id)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def check_whole(client, service: RunningService, job_id: str) -> None:
    """The story of the job is whole: each step once and in order, each landmark there."""
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=100))[::-1]
    assert len({event.id for event in events}) == len(events)
    assert [event.data["step"] for event in events if event.type == "metrics"] == list(range(1, STEPS + 1))
    texts = [event.message for event in events]
    assert sum(text.startswith("New fine-tuned model") for text in texts) == 1
    assert sum("successfully completed" in text for text in texts) == 1
    assert sum(text.startswith("Checkpoint created") for text in texts) == 6
    job = client.fine_tuning.jobs.retrieve(job_id)
    assert len(client.fine_tuning.jobs.checkpoints.list(job_id).data) == 3
    assert len(job.result_files) == 1
    assert client.files.content(job.result_files[0]).read()
    names = [model.id for model in client.models.list() if model.id.startswith(job.fine_tuned_model)]
    assert len(names) == 4
    assert record(service, job_id)["occupied"] == 0


@pytest.fixture(scope="module")
def untouched() -> str:
    """The weights of a training that nobody disturbed, and how long it took."""
    with running_service() as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(ROWS)), purpose="fine-tune")
        job = wait_for(client, submit(client, file.id, **KNOBS).id)
        check_whole(client, service, job.id)
        return weights(service, job.id)


@pytest.mark.parametrize("victim", ["service", "worker", "both"])
@pytest.mark.parametrize("moment", range(8))
def test_a_training_survives_whoever_is_killed_whenever(untouched, victim, moment):
    chance = random.Random(f"{victim}{moment}")
    with running_service() as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(ROWS)), purpose="fine-tune")
        job_id = submit(client, file.id, **KNOBS).id
        for _ in range(3):
            time.sleep(chance.uniform(0, 0.9))
            if victim in ("service", "both"):
                service.kill()
            if victim in ("worker", "both"):
                kill_worker(service, job_id)
            if victim != "worker":
                service.start()
        done = wait_for(client, job_id)
        assert done.status == "succeeded", done.error
        check_whole(client, service, job_id)
        assert weights(service, job_id) == untouched
        if victim == "service":
            # its worker lived on and was found again: nothing was trained twice
            told = client.fine_tuning.jobs.list_events(job_id, limit=100)
            assert not any("Resuming from step" in event.message for event in told)


def test_a_service_killed_at_any_moment_of_a_create_has_the_job_whole_or_not_at_all():
    chance = random.Random(1)
    with running_service() as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(20)), purpose="fine-tune")
        acknowledged: list[str] = []
        for round_ in range(12):
            killer = chance.uniform(0.0, 0.03)
            end = time.monotonic() + killer
            while time.monotonic() < end:
                with suppress(openai.APIConnectionError):
                    acknowledged.append(submit(client, file.id, metadata={"round": str(round_)}).id)
            os.kill(service.pid, signal.SIGKILL)
            service._ended()
            service.start()
        listed = {job.id for job in client.fine_tuning.jobs.list(limit=100)}
        assert set(acknowledged) <= listed
        for job_id in listed:
            assert wait_for(client, job_id, seconds=120).status == "succeeded"
        folders = {path.name for path in (service.data_dir / "jobs").iterdir()}
        assert folders == listed


CALLS = "rename,renameat,renameat2,link,linkat,mkdir,unlink,fsync,fdatasync,pwrite64,ftruncate"


@contextmanager
def traced(service: RunningService, *options: str):
    """strace at every thread of a running service."""
    command = ["strace", "-f", "-qq", *options, "-p", str(service.pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        threads = Path(f"/proc/{service.pid}/task")
        until(lambda: all("TracerPid:\t0" not in (task / "status").read_text() for task in threads.iterdir()))
        yield
        tracer.kill()  # it may be waiting for a thread that is gone for good


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.timeout(1800)
def test_a_service_killed_at_any_system_call_keeps_what_it_acknowledged(tmp_path):
    """From an upload to a succeeded job: killed at a call that changes the disk, then started again."""
    listing = tmp_path / "calls"
    with running_service() as service, traced(service, "-e", f"trace={CALLS}", "-o", str(listing)):
        assert one_job(service, {"files": [], "jobs": []}) == "succeeded"
    # strace counts for each thread by itself
    most = max(Counter(line.split()[0] for line in listing.read_text().splitlines()).values())
    killed = 0
    for moment in range(1, most + 1, max(1, most // 40)):
        kept: dict[str, list[str]] = {"files": [], "jobs": []}
        inject = f"inject={CALLS}:signal=SIGKILL:when={moment}"
        with running_service(tmp_path / f"at-{moment}") as service:
            with traced(service, "-o", "/dev/null", "-e", inject):
                one_job(service, kept)
            killed += service.process.poll() == -signal.SIGKILL
            service.kill()
            service.start()
            check_acknowledged(service, kept)
    assert killed >= 10, "too few of the calls were reached for this to say much"


def one_job(service: RunningService, kept: dict[str, list[str]]) -> str | None:
    """Upload, create and wait; what is acknowledged on the way is noted."""
    with openai_for(service) as client, suppress(openai.APIConnectionError):
        file = client.files.create(file=("a.jsonl", chats(20)), purpose="fine-tune")
        kept["files"].append(file.id)
        job = submit(client, file.id, seed=1)
        kept["jobs"].append(job.id)
        return wait_for(client, job.id).status
    return None


def check_acknowledged(service: RunningService, kept: dict[str, list[str]]) -> None:
    with openai_for(service) as client:
        files = {file.id for file in client.files.list(purpose="fine-tune")}
        assert set(kept["files"]) <= files
        for file_id in files:
            assert client.files.content(file_id).read() == chats(20)
        jobs = {job.id for job in client.fine_tuning.jobs.list()}
        assert set(kept["jobs"]) <= jobs
        for job_id in jobs:
            done = wait_for(client, job_id)
            assert done.status == "succeeded", done.error
            assert client.files.content(done.result_files[0]).read()
            assert ask(client, done.fine_tuned_model) == "mobile"
        contents = {path.name for path in (service.data_dir / "files").iterdir()}
        assert contents == {file.id for file in client.files.list()}
        assert {path.name for path in (service.data_dir / "jobs").iterdir()} == jobs


def ask(client, model: str) -> str:
    messages = [{"role": "user", "content": "Ticket 1: there is trouble with my phone."}]
    return client.chat.completions.create(model=model, messages=messages, temperature=0).choices[0].message.content


def test_an_upload_cut_off_by_a_kill_leaves_nothing_or_all():
    content = chats(5000)
    with running_service() as service:
        for pause in (0.0, 0.001, 0.003, 0.01, 0.03):
            with httpx.Client(base_url=service.base_url) as client:
                import threading

                def send(client=client) -> None:
                    with suppress(httpx.HTTPError):
                        client.post("/files", files={"file": ("a.jsonl", content)}, data={"purpose": "fine-tune"})

                sender = threading.Thread(target=send)
                sender.start()
                time.sleep(pause)
                service.kill()
                sender.join()
            service.start()
            with openai_for(service) as client:
                for file in client.files.list():
                    assert client.files.content(file.id).read() == content
                known = {file.id for file in client.files.list()}
            assert {path.name for path in (service.data_dir / "files").iterdir()} == known
            assert list((service.data_dir / "scratch").iterdir()) == []


def test_a_paused_job_stays_paused_through_kills_and_goes_on_when_resumed(untouched):
    with running_service() as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(ROWS)), purpose="fine-tune")
        job_id = wait_for(client, submit(client, file.id, **KNOBS).id, "running").id
        until(lambda: client.fine_tuning.jobs.list_events(job_id, limit=1).data[0].type == "metrics")
        with suppress(httpx.HTTPError, openai.APIConnectionError):
            client.fine_tuning.jobs.pause(job_id)
        service.kill(everything=True)
        service.start()
        wait_for(client, job_id, "paused")
        service.kill()
        service.start()
        time.sleep(0.5)
        assert client.fine_tuning.jobs.retrieve(job_id).status == "paused"
        client.fine_tuning.jobs.resume(job_id)
        assert wait_for(client, job_id).status == "succeeded"
        check_whole(client, service, job_id)
        assert weights(service, job_id) == untouched


def test_a_cancelled_job_stays_cancelled_and_its_worker_is_sent_home():
    with running_service() as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(400)), purpose="fine-tune")
        knobs = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}}}
        job_id = wait_for(client, submit(client, file.id, method=knobs).id, "running").id
        pid = until(lambda: worker_pid(service, job_id))
        client.fine_tuning.jobs.cancel(job_id)
        service.kill()
        service.start()
        until(lambda: not Path(f"/proc/{pid}").exists() or b"worker" not in Path(f"/proc/{pid}/cmdline").read_bytes())
        assert client.fine_tuning.jobs.retrieve(job_id).status == "cancelled"
        until(lambda: record(service, job_id)["occupied"] == 0)


def test_many_jobs_and_many_kills():
    chance = random.Random(7)
    with running_service(concurrency=3) as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(ROWS)), purpose="fine-tune")
        ids = [submit(client, file.id, **KNOBS).id for _ in range(6)]
        for _ in range(10):
            time.sleep(chance.uniform(0.05, 0.6))
            until(lambda: may_lose_more(service))
            match chance.choice(["service", "worker", "both"]):
                case "worker":
                    kill_worker(service, chance.choice(ids))
                case "service":
                    service.kill()
                    service.start()
                case _:
                    service.kill(everything=True)
                    service.start()
        ends = [wait_for(client, job_id, seconds=240) for job_id in ids]
        assert {end.status for end in ends} == {"succeeded"}
        assert len({weights(service, job_id) for job_id in ids}) == 1
        for job_id in ids:
            check_whole(client, service, job_id)
        assert all(job.status in TERMINAL for job in client.fine_tuning.jobs.list())
