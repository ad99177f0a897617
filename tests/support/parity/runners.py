"""The runners, seen from the test: processes that are given orders, and may be ended at any moment."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.parity.order import GONE, Order, Outcome

TESTS = Path(__file__).parents[2]
PATIENCE = 180.0
"""Seconds for one run on a slow and noisy machine; what takes longer hangs."""


class Runner(ABC):
    """One way to run a pipeline. At most one run is under way.

    Args:
        home: A folder for what it keeps over its life, and for its log.
    """

    name: str
    busy: bool = False  # whether a run is under way

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self, order: Order) -> None:
        """Begin a run."""

    @abstractmethod
    def outcome(self) -> Outcome:
        """Wait for its end."""

    def evict(self) -> None:
        """What a machine that is taken away does: ask it to end, and then end it."""
        self._signal(signal.SIGTERM)
        self._gone(seconds=5)
        self.kill()

    def cancel(self, order: Order) -> None:
        """What a person does who wants the run to stop, in this runner's own way."""
        raise NotImplementedError

    def strike(self) -> None:
        """SIGKILL, with everything that it started; whoever waits for it will hear of it."""
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """The same, and nothing of it is left."""
        self.strike()
        if self._process is not None:
            self._process.wait(PATIENCE)
        self.busy = False

    def close(self) -> None:
        """End it for good, with all that it needs."""
        self._drop()

    def _drop(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout) if self._process else ():
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process = None

    @property
    def log(self) -> str:
        """The last that it has printed."""
        path = self.home / "log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def _spawn(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        self._drop()
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=TESTS.parent,
                env={
                    **own_environment(),
                    "PYTHONPATH": str(TESTS),
                    "PYTHONWARNINGS": "ignore",
                    "PYTHONUNBUFFERED": "1",
                    "OMP_NUM_THREADS": "1",
                    **more,
                },
                start_new_session=True,  # its whole group can be ended at once
            )
        return self._process

    def _signal(self, sign: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)

    def _gone(self, seconds: float) -> bool:
        try:
            assert self._process is not None
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


class CommandLine(Runner):
    """`tuneway`, as a person types it."""

    name = "command line"

    def start(self, order: Order) -> None:
        """Type it."""
        self._spawn("-m", "support.parity.commands", json.dumps(asdict(order)), OPENAI_BASE_URL=order.base_url)
        self.busy = True
        self._said = self.home / "log"
        self._from = self._said.stat().st_size

    def outcome(self) -> Outcome:
        """What it printed, and its exit code."""
        assert self._process is not None
        printed, _ = self._process.communicate(timeout=PATIENCE)
        self.busy = False
        if self._process.returncode < 0:
            return GONE
        if self._process.returncode == 0:
            return Outcome(ended="succeeded", ref=json.loads(printed)["ref"])
        said = self._said.read_bytes()[self._from :].decode()
        error = json.loads(said.strip().splitlines()[-1])["error"]
        return Outcome(ended="failed", error=_as_text(error), final=not error["retryable"])

    def cancel(self, order: Order) -> None:
        """Ctrl-C, having asked that it cancel the job as well."""
        self._signal(signal.SIGINT)


def _as_text(error: Mapping[str, Any]) -> str:
    """The same error as its text: what `tuneway` prints for people."""
    from tuneway import errors

    details = {name: error[name] for name in ("hint", "code", "status", "job_id", "request_id")}
    return str(errors.TunewayError(error["message"], **details))


class Program(Runner):
    """A program that takes orders and lives for many of them: engines are slow to import."""

    module: str

    def start(self, order: Order) -> None:
        """Hand it the order."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._spawn("-m", f"support.parity.{self.module}", **self.environment())
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        process.stdin.flush()
        self.busy = True

    def environment(self) -> dict[str, str]:
        """What its process finds in its environment, besides ours."""
        return {}

    def outcome(self) -> Outcome:
        """Wait for its answer."""
        assert self._process is not None
        assert self._process.stdout is not None
        there, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert there, f"{self.name} didn't end:\n{self.log}"
        line = self._process.stdout.readline()
        self.busy = False
        if not line:
            self._process.wait(PATIENCE)
            return GONE
        return Outcome(**json.loads(line))


class Plain(Program):
    """The plain client."""

    name = "plain client"
    module = "plain"

    def cancel(self, order: Order) -> None:
        """The one call that a program makes for a person who has had enough. Its log has the marks of its jobs."""
        from tuneway import Client, Requester

        with Client(**order.service) as client:
            marks = re.findall(r"a job with the mark (\w+)", self.log)
            client.cancel_made_by(Requester(pipeline=order.pipeline, run=str(order.run)), marks=marks)


def own_environment() -> dict[str, str]:
    """Our environment, without what is meant for somebody else's runs."""
    ours = ("OPENAI_", "AZURE_OPENAI_", "TUNEWAY_", "PYTEST", "COV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
