"""SIGKILL at every network and disk call of a real `tuneway run`, then the same command again: one file, one job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support import strace
from support.console import write
from support.fault_server import FaultServer
from support.quick_service import QuickService
from support.service import running_service

import tuneway
from tuneway import Client
from tuneway.registry import open_registry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(strace.obstacle() is not None, reason=str(strace.obstacle())),
]

STRIDE = int(os.environ.get("TEST_KILL_STRIDE", "1"))
"""Every so many calls one is tried: 1 is all of them."""

AT_ONCE = min(os.cpu_count() or 1, 4)

PYTHON = {Path(tuneway.__file__).parent, *map(Path, sysconfig.get_paths().values()), Path(sys.base_prefix)}
"""Modules are loaded from there: nobody else sees that, and nothing is left of it."""


class Place:
    """A folder of its own, data of its own, and the command."""

    def __init__(self, folder: Path, base_url: str, *, settle: float = 0, seed: int = 0) -> None:
        folder.mkdir(parents=True)
        write(folder / "train.jsonl", 20, start=100 * seed)
        self.folder = folder
        self.registry = f"sqlite:///{folder}/models.db"
        self.command = [sys.executable, "-m", "tuneway.cli", "run", "train.jsonl", "--model", "gpt-4o-mini", "--json"]
        self.command += ["--name", folder.name, "--settle", str(settle)]
        kept = {name: value for name, value in os.environ.items() if name.startswith(("LANG", "LC_", "VIRTUAL_ENV"))}
        environment = kept | {
            "OPENAI_BASE_URL": base_url,
            "TUNEWAY_REGISTRY_URI": self.registry,
            "HOME": str(folder),
            "PATH": "",  # no Git: its process would have calls of its own
            "PYTHONHASHSEED": "0",
        }
        self.options: dict[str, Any] = {"cwd": folder, "env": environment}

    def again(self) -> dict[str, Any]:
        """Run to the end."""
        done = subprocess.run(self.command, capture_output=True, text=True, check=False, timeout=300, **self.options)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> list[strace.Call]:
    """What the command does from its first word to the service on: before, nobody knows of it."""
    folder = tmp_path_factory.mktemp("calls")
    with FaultServer(QuickService()) as server:
        Place(folder / "compiled", server.base_url).again()
        place = Place(folder / "traced", server.base_url, seed=1)
        every = strace.traced(place.command, **place.options)
    start = next(index for index, call in enumerate(every) if call.name == "connect" and "AF_INET" in call.shown)
    return [call for call in every[start:] if not strace.touches(call, *PYTHON)]


def test_the_sweep_goes_over_everything_that_counts(calls):
    def some(name: str, text: str) -> bool:
        return any(call.name == name and text in call.shown for call in calls)

    assert some("openat", "train.jsonl")
    assert some("sendto", "POST /v1/files")
    assert some("sendto", "POST /v1/fine_tuning/jobs")
    assert some("recvfrom", "HTTP/1.1 200 OK")
    assert some("fdatasync", "models.db") or some("fsync", "models.db")


@pytest.mark.parametrize("part", ["network", "disk"])
def test_killed_anywhere_and_run_again_makes_one_file_and_one_job(calls, part, tmp_path, record_property):
    points = [call for call in calls if (call.name in strace.NETWORK) == (part == "network")][::STRIDE]
    record_property("points", len(points))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = list(pool.map(lambda point: _kill_and_repeat(tmp_path / f"{point.name}-{point.nth}", point), points))
    assert killed.count(False) <= len(points) // 20, "too few of the kills met the process"


def _kill_and_repeat(folder: Path, point: strace.Call) -> bool:
    with FaultServer(QuickService()) as server:
        place = Place(folder, server.base_url)
        killed: bool = strace.kill_at(place.command, point, **place.options)
        files, jobs = len(_training_files(server)), len(server.service.jobs)
        result = place.again()
        assert len(_training_files(server)) == 1, point
        assert [job["status"] for job in server.service.jobs] == ["succeeded"], point
    assert (bool(result["sent"]), result["adopted"]) == (not files, bool(jobs)), point
    (version,) = open_registry(place.registry).versions(folder.name)
    assert version.record.job_id == result["job_id"], point
    return killed


def _training_files(server: FaultServer) -> list[dict[str, Any]]:
    return [file for file in server.service.files if file["purpose"] == "fine-tune"]


@pytest.mark.skipif(find_spec("starlette") is None, reason="needs the extra `local`")
def test_killed_around_each_request_to_the_local_service_there_is_one_job(calls, tmp_path):
    """Up to the wait: how often a wait asks depends on how long the training takes."""
    asked = next(index for index, call in enumerate(calls) if "/events" in call.shown)
    points = [call for call in calls[:asked] if call.name in ("sendto", "recvfrom")][:: 3 * STRIDE]
    with running_service() as running, Client(base_url=running.base_url) as client:
        for seed, point in enumerate(points):
            place = Place(tmp_path / f"{point.name}-{point.nth}", running.base_url, settle=0.2, seed=seed)
            assert strace.kill_at(place.command, point, **place.options), point
            result = place.again()
            origin = f"command line: {place.folder.name}"
            jobs = [job for job in client.jobs.list() if (job.metadata or {}).get("tuneway_origin") == origin]
            assert [job.id for job in jobs] == [result["job_id"]], point
            sha256 = result["upload"]["sha256"]
            assert len([file for file in client.files.list() if sha256 in str(file.filename)]) == 1, point
