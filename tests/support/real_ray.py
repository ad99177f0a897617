"""A real Ray head of this machine, for tests: started, killed, started again; nothing of it is left.

`ray stop` ends every Ray of the machine; here, only this head's processes end: those of its session, and those
with its mark in their environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from support.service import until
from support.stack import free_ports

READY_SECONDS = 120.0
# the head asks for it; 32 characters at least
TOKEN = "test-" * 8
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class RealRay:
    """A cluster of one machine with two CPUs, and with GPUs that don't exist; others may join."""

    def __init__(self, folder: Path, gpus: int = 0) -> None:
        self.folder = folder
        self.gpus = gpus
        self.gcs, self.dashboard, self.agent, self.client = free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sessions: set[int] = set()

    @property
    def address(self) -> str:
        """Of the dashboard."""
        return f"http://127.0.0.1:{self.dashboard}"

    def start(self) -> None:
        """Start the head, and wait until it can run jobs; at the same address each time, with an empty memory."""
        self._process = self._run("--head", *self._options())
        until(self._ready, seconds=READY_SECONDS, every=0.2)

    def join(self, gpus: int) -> None:
        """Have another machine join, with so many GPUs; it is this one again."""
        (agent,) = free_ports(1)
        self._run(
            f"--address=127.0.0.1:{self.gcs}",
            "--num-cpus=2",
            f"--num-gpus={gpus}",
            "--object-store-memory=80000000",
            "--node-ip-address=127.0.0.1",
            f"--dashboard-agent-listen-port={agent}",
            "--min-worker-port=0",
            "--max-worker-port=0",
        )

    def _run(self, *options: str) -> subprocess.Popen[bytes]:
        with (self.folder / "head.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    # `python` is this one
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    "PYTHONWARNINGS": "",
                    "RAY_USAGE_STATS_ENABLED": "0",
                    # tests that `uv run` started are no reason to have Ray start its workers by it as well
                    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
                    "RAY_memory_monitor_refresh_ms": "0",
                    "RAY_AUTH_MODE": "token",
                    "RAY_AUTH_TOKEN": TOKEN,
                    "TUNEWAY_TEST_RAY": str(self.folder),
                },
            )
        self._sessions.add(process.pid)
        self._processes.append(process)
        return process

    def _options(self) -> list[str]:
        return [
            "--num-cpus=2",
            f"--num-gpus={self.gpus}",
            "--object-store-memory=80000000",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            "--node-ip-address=127.0.0.1",
            f"--temp-dir={self.folder}/t",
            f"--port={self.gcs}",
            f"--dashboard-port={self.dashboard}",
            f"--dashboard-agent-listen-port={self.agent}",
            f"--ray-client-server-port={self.client}",
            "--min-worker-port=0",
            "--max-worker-port=0",
        ]

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"Ray didn't start:\n{(self.folder / 'head.log').read_text()}")
        try:
            # the agent that starts jobs comes after the dashboard
            httpx.get(f"http://127.0.0.1:{self.agent}/api/healthz", headers=HEADERS, timeout=5)
            return httpx.get(f"{self.address}/api/jobs/", headers=HEADERS, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """SIGKILL the head and all that it ever started, jobs included."""
        until(lambda: not self._end(signal.SIGKILL), seconds=30)
        while self._processes:
            self._processes.pop().wait(timeout=30)

    def _end(self, number: int) -> list[int]:
        found = list(self.processes())
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return found

    def processes(self) -> Iterator[int]:
        """All living processes that belong to this head."""
        mark = f"TUNEWAY_TEST_RAY={self.folder}".encode()
        for place in Path("/proc").iterdir():
            if place.name.isdigit() and int(place.name) != os.getpid():
                with suppress(OSError):
                    state, _, _, session, *_ = (place / "stat").read_text().rpartition(")")[2].split()
                    ours = int(session) in self._sessions or mark in (place / "environ").read_bytes().split(b"\0")
                    if ours and state != "Z":
                        yield int(place.name)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """What Ray knows, by submission id."""
        reply = httpx.get(f"{self.address}/api/jobs/", headers=HEADERS, timeout=30)
        return {job["submission_id"]: job for job in reply.json()}


@contextmanager
def real_ray(gpus: int = 0) -> Iterator[RealRay]:
    """A running head."""
    # Ray's sockets lie there, and their names mustn't be long
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    ray = RealRay(folder, gpus)
    try:
        ray.start()
        yield ray
    finally:
        ray.kill()
        shutil.rmtree(folder, ignore_errors=True)
