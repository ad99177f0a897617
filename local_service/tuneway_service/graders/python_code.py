"""Run the code of Python graders in separate processes, with limits on time, memory, output and files.

The code runs as the service's user, so it is refused unless the service was started with `--allow-python-graders`.
What the system offers keeps it away from the service: `sandbox`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tuneway_service
from tuneway_service.graders.result import GradingError

SECONDS = 30.0
CHECK_SECONDS = 10.0
# how much later the runner itself is ended
GRACE = 15.0
TICK = 0.5
MEMORY = 2 * 2**30
PROCESSES = 64
DISK = 2**28
SHIELDS = ("processes", "files")
"""What is used where the system has it: namespaces for processes, rules for files."""

START = "import sys; sys.path.append(sys.argv[1]); from tuneway_service.sandbox import runner; runner.main()"


class CodeFailed(GradingError):
    """The code raised an error, took too long, or didn't return a number."""

    flag = "python_grader_runtime_error"


class RunnerFailed(GradingError):
    """The code couldn't be run."""

    flag = "python_grader_server_error"


def problem(source: str) -> str | None:
    """What is wrong with the source, found without running it; None if nothing is."""
    try:
        _ask(CHECK_SECONDS, lambda: None, check=True, source=source)
    except GradingError as error:
        return str(error)
    return None


def run(
    source: str,
    sample: dict[str, Any],
    item: Any,
    *,
    seconds: float = SECONDS,
    tick: Callable[[], None] = lambda: None,
) -> float:
    """Run `grade(sample, item)` and return its number; raises `CodeFailed`, and whatever `tick` raises meanwhile."""
    reply = _ask(min(seconds, SECONDS), tick, check=False, source=source, sample=sample, item=item)
    try:
        return float(reply["score"])
    except (LookupError, ValueError, TypeError):
        raise CodeFailed("it didn't return a number") from None


def _ask(seconds: float, tick: Callable[[], None], **request: Any) -> dict[str, Any]:
    """Have a request answered by a runner; raises its error."""
    with tempfile.TemporaryDirectory(prefix="tuneway-grader-", ignore_cleanup_errors=True) as folder:
        limits = {"seconds": seconds, "memory": MEMORY, "processes": PROCESSES, "disk": DISK}
        given = json.dumps({**request, **limits, "folder": folder, "shields": SHIELDS}).encode()
        with subprocess.Popen(  # noqa: S603 - our own program, which runs a client's code
            [sys.executable, "-I", "-c", START, str(Path(tuneway_service.__file__).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
        ) as runner:
            try:
                answer = _wait(runner, given, time.monotonic() + seconds + GRACE, tick)
            finally:
                # it ends what it has started, and then itself
                runner.terminate()
    return _reply(answer, runner.returncode)


def _wait(runner: subprocess.Popen[bytes], given: bytes, end: float, tick: Callable[[], None]) -> bytes:
    request: bytes | None = given
    while time.monotonic() < end:
        try:
            return runner.communicate(request, timeout=TICK)[0]
        except subprocess.TimeoutExpired:
            # the rest of it is sent by the next call
            request = None
            tick()
    raise RunnerFailed("the process that runs the code doesn't answer")


def _reply(answer: bytes, status: int) -> dict[str, Any]:
    try:
        reply = json.loads(answer)
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise RunnerFailed(f"the process that runs the code ended with status {status}")
    if "error" in reply:
        raise CodeFailed(str(reply["error"]))
    return reply
