"""A gang and its job's folder: which command trains, and how long the folder is held. Nothing is trained here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.service import until

from tuneway_service import gang, parentage
from tuneway_service.folder import JobFolder, Taken

HOLD = """
import sys, time
from pathlib import Path
from tuneway_service.folder import JobFolder
with JobFolder(Path(sys.argv[1])).joined():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def job(tmp_path):
    folder = JobFolder(tmp_path / "job")
    folder.path.mkdir()
    folder.write("job", {"attempt": 1})
    return folder


@pytest.mark.parametrize(
    ("order", "size"),
    [
        ({}, 1),
        ({"trainer": "hf:/tiny", "devices": ["0"]}, 1),
        ({"trainer": "hf:/tiny", "devices": ["0", "3"]}, 2),
        ({"trainer": "hf:/tiny", "devices": ["cpu:0", "cpu:1"]}, 2),
        ({"trainer": "hf:/tiny", "gpus": 4}, 4),
        ({"trainer": "hf:/tiny", "gpus": 0.5}, 1),
        ({"trainer": "bytes", "devices": ["0", "1"]}, 1),
    ],
)
def test_a_job_with_several_devices_is_trained_by_a_gang(job, order, size):
    assert gang.size(order) == size
    module = "worker" if size == 1 else "gang"
    assert gang.command(job, order) == [sys.executable, "-m", f"tuneway_service.{module}", str(job.path)]


def test_processes_share_the_threads_that_one_would_use(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert gang.environment(gang.Meeting(2))["OMP_NUM_THREADS"] == "4"
    assert gang.environment(gang.Meeting(16))["OMP_NUM_THREADS"] == "1"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert int(gang.environment(gang.Meeting(2))["OMP_NUM_THREADS"]) >= 1


def test_a_folder_is_held_until_the_last_process_of_the_gang_ends(job):
    with job.claim(1):
        members = [
            subprocess.Popen([sys.executable, "-c", HOLD, str(job.path)], stdout=subprocess.PIPE) for _ in range(2)
        ]
        for member in members:
            assert member.stdout is not None
            assert member.stdout.readline() == b"held\n"
        assert job.held()
    for member in members:
        assert job.held()
        with pytest.raises(Taken), job.claim(1, patience=0.05):
            pass
        member.kill()
        member.communicate()
    assert not job.held()
    with job.claim(1):
        pass


CHAIN = """
import os, subprocess, sys, time
from tuneway_service import parentage
depth = int(sys.argv[1])
if depth < 2:
    parentage.end_with_parent()
print(os.getpid(), flush=True)
parentage.be_parent()
if depth:
    subprocess.Popen([sys.executable, __file__, str(depth - 1)], start_new_session=True)
time.sleep(60)
"""


@pytest.mark.parametrize("by_kernel", [True, False])
def test_processes_end_with_the_one_that_started_them(tmp_path, by_kernel):
    script = tmp_path / "chain.py"
    script.write_text(CHAIN if by_kernel else f"from tuneway_service.sandbox import kernel\n{NO_KERNEL}{CHAIN}")
    with subprocess.Popen([sys.executable, str(script), "2"], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        pids = [int(first.stdout.readline()) for _ in range(3)]
        first.kill()
    until(lambda: not any(map(lives, pids)), seconds=20)


NO_KERNEL = "kernel.die_with_parent = lambda number: False\n"


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_whose_parent_ended_before_it_looked_ends_too():
    code = "from tuneway_service import parentage; parentage.end_with_parent(); print('lives')"
    environment = {**os.environ, parentage.PARENT: "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
