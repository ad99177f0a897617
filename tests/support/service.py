"""The real local service as a process of its own, for tests.

    with running_service() as service:
        client = OpenAI(base_url=service.base_url, api_key="none")

Nothing of it is left when the block ends: every process that it started is gone, its data too.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

READY_SECONDS = 20.0


class RunningService:
    """A service under test.

    Options are those of `ServeOptions`, spelled the same; `models` is a dictionary. `open_files` is the most files that
    the service may have open.
    """

    def __init__(self, data_dir: Path, options: dict[str, Any], open_files: int | None = None) -> None:
        self.data_dir = data_dir
        self.open_files = open_files
        self.options = {"models": {"gpt-4o-mini": "bytes"}, "log_level": "warning"} | options
        self.base_url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    @property
    def log(self) -> str:
        """What the service has written to standard error."""
        return self._log.read_text()

    @property
    def _log(self) -> Path:
        # beside the data: a service takes only an empty folder
        return self.data_dir.with_name(f"{self.data_dir.name}.stderr.log")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The service's process, the latest of them."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """The service's own process id."""
        return self.process.pid

    def start(self) -> None:
        """Start the service, and wait until it says where it is."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            # a process group of its own, workers included: all of it can be ended with one signal
            self._process = subprocess.Popen(
                [*self._limited(), sys.executable, "-m", "tuneway_service", *self._arguments()],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONWARNINGS": ""},
            )
        self._groups.append(self.process.pid)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS)
        line = self.process.stdout.readline().decode().strip() if ready else ""
        if not line:
            self.kill(everything=True)
            raise AssertionError(f"the service didn't start:\n{self.log}")
        self.base_url = line
        # restarts come back to the same address, as a real one does
        self.options["port"] = int(line.rsplit(":", 1)[1].split("/")[0])

    def _limited(self) -> list[str]:
        return ["sh", "-c", f'ulimit -n {self.open_files}; exec "$@"', "sh"] if self.open_files else []

    def _arguments(self) -> list[str]:
        words = ["--data-dir", str(self.data_dir), "--port", str(self.options.get("port", 0))]
        for name, value in self.options.items():
            if name == "models":
                for model, trainer in value.items():
                    words += ["--model", f"{model}={trainer}"]
            elif name != "port" and value is not None and value is not False:
                flag = "--" + ("fault" if name == "faults" else name.replace("_", "-"))
                words += [flag] if value is True else [flag, str(value)]
        return words

    def stop(self) -> int:
        """Stop it as a user would; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def kill(self, *, everything: bool = False) -> None:
        """SIGKILL the service alone, or its workers with it."""
        if everything:
            for group in self._groups:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        elif self.process.poll() is None:
            self.process.kill()
        self._ended()

    def restart(self) -> None:
        """Start again on the same data and address, after `stop` or `kill` (or instead of them)."""
        if self.process.poll() is None:
            self.stop()
        self.start()

    def _ended(self) -> int:
        status = self.process.wait(timeout=30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def _clean_up(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        self.kill(everything=True)


@contextmanager
def running_service(
    data_dir: Path | None = None, *, open_files: int | None = None, **options
) -> Iterator[RunningService]:
    """A service on a free port and, unless a data directory is given, on data of its own."""
    folder = data_dir or Path(tempfile.mkdtemp(prefix="tuneway-service-"))
    service = RunningService(folder, options, open_files)
    try:
        service.start()
        yield service
    finally:
        service._clean_up()
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
            service._log.unlink(missing_ok=True)


def until(condition, *, seconds: float = 30.0, every: float = 0.02, told: Callable[[], object] | None = None):
    """Wait for something that another process does; returns what the condition returned. A failure shows `told`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {told() if told else condition}")
        time.sleep(every)
    return value
