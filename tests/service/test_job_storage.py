"""Job folders outside of the data directory: one service's alone, and never taken for empty."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest
from support.openai_jobs import chats, openai_for, submit, wait_for
from support.service import running_service

from tuneway.errors import InvalidSpec
from tuneway_service import folder as folders
from tuneway_service.folder import JobFolder, Taken, process_start, this_machine
from tuneway_service.settings import Settings
from tuneway_service.storage import settle, there


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.slow
def test_job_folders_lie_there(tmp_path):
    share = tmp_path / "share"
    with running_service(tmp_path / "data", job_storage=share) as service, openai_for(service) as client:
        file = client.files.create(file=("a.jsonl", chats(20)), purpose="fine-tune").id
        job = wait_for(client, submit(client, file).id)
        assert job.status == "succeeded"
        assert (share / "jobs" / job.id / "model").exists()
        assert not (tmp_path / "data" / "jobs").exists()
        service.restart()
        client.chat.completions.create(model=job.fine_tuned_model, messages=[{"role": "user", "content": "phone"}])


def test_storage_stays_its_service_s_own(tmp_path, data):
    ours = Settings(data_dir=data, job_storage=tmp_path / "share")
    settle(ours)
    settle(ours)
    assert there(ours)
    (tmp_path / "other").mkdir()
    with pytest.raises(InvalidSpec, match="belongs to another service"):
        settle(Settings(data_dir=tmp_path / "other", job_storage=tmp_path / "share"))


def test_storage_that_is_not_mounted_is_not_taken_for_new(tmp_path, data):
    ours = Settings(data_dir=data, job_storage=tmp_path / "share")
    settle(ours)
    (tmp_path / "share").rename(tmp_path / "moved")
    assert not there(ours)
    with pytest.raises(InvalidSpec, match="Is it mounted"):
        settle(ours)
    assert not (tmp_path / "share").exists()
    settle(Settings(data_dir=data, job_storage=tmp_path / "moved"))


def test_storage_can_not_be_forgotten(tmp_path, data):
    settle(Settings(data_dir=data, job_storage=tmp_path / "share"))
    with pytest.raises(InvalidSpec, match="jobs are in"):
        settle(Settings(data_dir=data))


def test_a_service_that_has_jobs_can_not_be_given_another_place_for_them(tmp_path, data):
    (data / "jobs" / "ftjob-1").mkdir(parents=True)
    with pytest.raises(InvalidSpec, match="has jobs in"):
        settle(Settings(data_dir=data, job_storage=tmp_path / "share"))
    settle(Settings(data_dir=data))


def test_storage_that_can_not_be_written_to_is_refused(data):
    with pytest.raises(InvalidSpec, match="can't use /proc"):
        settle(Settings(data_dir=data, job_storage=Path("/proc/nowhere")))


# what machines that share a folder know of one another


@pytest.fixture
def job(tmp_path):
    folder = JobFolder(tmp_path)
    folder.write("job", {"attempt": 1})
    return folder


def test_a_worker_touches_its_lease_as_long_as_it_lives(job, monkeypatch):
    monkeypatch.setattr(folders, "BEAT_SECONDS", 0.01)
    with job.claim(1):
        os.utime(job.path / "lease.json", (1, 1))
        before = job.beat()
        for _ in range(1000):
            if job.beat() != before:
                break
            time.sleep(0.01)
        assert job.beat() != before


def test_a_pid_of_another_machine_is_nobody_here(job):
    with job.claim(1):
        lease = job.read("lease")
        assert job.holder() == os.getpid()
        assert lease == {
            "attempt": 1,
            "machine": this_machine(),
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
        }
        job.write("lease", lease | {"machine": "another"})
        assert job.holder() is None


def test_storage_without_locks_can_be_worked_on(job, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with job.claim(1):
        assert not job.held()


def test_a_claim_for_an_attempt_that_is_not_wanted_leaves_the_lease_alone(job):
    with job.claim(1):
        lease = job.read("lease")
    job.write("job", {"attempt": 2})
    with pytest.raises(Taken), job.claim(1):
        pass
    assert job.read("lease") == lease
