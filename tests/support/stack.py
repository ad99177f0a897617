"""A stack of real processes under test: each in a group and with a log of its own, all in one folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
from support.service import until


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as listeners:
        held = [listeners.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listener.getsockname()[1]) for listener in held]


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


class Stack:
    """The processes of an engine. An engine's own class says how it comes `up`, and what a person does with it."""

    engine = ""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        others = (self.engine.upper(), "PYTEST", "COV")  # settings for somebody else's runs
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        self.environment |= {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", **environment}

    @classmethod
    @contextmanager
    def running(cls, *args, **options) -> Iterator[Self]:
        """All of it in a new folder; nothing of it is left when the block ends."""
        home = Path(tempfile.mkdtemp(prefix=f"tuneway-{cls.engine}-real-"))
        stack = cls(home, *args, **options)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()
            shutil.rmtree(home, ignore_errors=True)

    def up(self) -> None:
        """Start all of it, and wait until it works."""
        raise NotImplementedError

    def down(self) -> None:
        """End all of it, what was started last first: a server waits for those that are connected to it."""
        for name in reversed(list(self.processes)):
            self.kill(name, signal.SIGTERM)

    def command(self, *words: str) -> list[str]:
        """One of the engine's own commands."""
        return [sys.executable, "-m", self.engine, *words]

    def run(self, *words: str) -> str:
        """Run one of the engine's own commands to its end; gives what it printed."""
        return self.finish(self.command(*words))

    def finish(self, command: Sequence[str | Path]) -> str:
        """Run a command to its end; gives what it printed."""
        done = subprocess.run(
            command, env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def spawn(self, name: str, command: Sequence[str | Path], **environment: str) -> None:
        """Start a process, which writes to `{name}.log`, with this in its environment as well."""
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=self.environment | environment,
                cwd=environment.get("PWD", self.home),
                start_new_session=True,  # its whole group can be ended at once
            )

    def send(self, name: str, sign: int) -> None:
        """Send a signal to a process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, sign)

    def kill(self, name: str, sign: int = signal.SIGKILL) -> None:
        """End a process with all that it started: with this signal, and what is left of it by force."""
        self.send(name, sign)
        with suppress(subprocess.TimeoutExpired):
            self.processes[name].wait(timeout=30)
        self.send(name, signal.SIGKILL)
        self.processes.pop(name).wait()

    def rename(self, name: str, new: str) -> None:
        """Call a process by another name: it stands in for one that has ended."""
        self.processes[new] = self.processes.pop(name)

    def answers(self, url: str) -> httpx.Response | None:
        """What a server answers if it does, and if all is well."""
        with suppress(httpx.TransportError):
            reply = httpx.get(url, trust_env=False)
            return reply if reply.status_code == 200 else None
        return None

    def until(self, condition, *, seconds: float = 180.0, what=None):
        """Wait for something that others do; gives what the condition gave. A failure shows `what`, and the logs."""
        told = lambda: f"{what() if what else condition}\n{self.logs()}"  # noqa: E731
        return until(condition, seconds=seconds, every=0.25, told=told)

    def ended(self) -> dict[str, int]:
        """What has ended by itself, with its exit status."""
        statuses = {name: process.poll() for name, process in self.processes.items()}
        return {name: status for name, status in statuses.items() if status is not None}

    def logs(self) -> str:
        """The end of each log."""
        logs = [f"{path}\n{path.read_text(errors='replace')[-4000:]}" for path in sorted(self.home.glob("*.log"))]
        return "\n".join([f"ended by themselves: {self.ended() or 'none'}", *logs])
