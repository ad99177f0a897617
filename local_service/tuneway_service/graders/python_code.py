"""Python graders: a client's code, in processes of its own with limits on time, memory, output and files.

The code runs as the service's user, so it is refused unless the service was started with `--allow-python-graders`.
What the system offers keeps it away from the service: `sandbox`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tuneway_service
from tuneway_service.graders.result import GradingError

SECONDS = 30.0
CHECK_SECONDS = 10.0
# how much later the runner itself is ended
GRACE = 15.0
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
        _ask(CHECK_SECONDS, check=True, source=source)
    except GradingError as error:
        return str(error)
    return None


def run(source: str, sample: dict[str, Any], item: Any, *, seconds: float = SECONDS) -> float:
    """Run `grade(sample, item)` and return its number; raises `CodeFailed`."""
    reply = _ask(min(seconds, SECONDS), check=False, source=source, sample=sample, item=item)
    try:
        return float(reply["score"])
    except (LookupError, ValueError, TypeError):
        raise CodeFailed("it didn't return a number") from None


def _ask(seconds: float, **request: Any) -> dict[str, Any]:
    """Have a request answered by a runner; raises its error."""
    root = str(Path(tuneway_service.__file__).parents[1])
    with tempfile.TemporaryDirectory(prefix="tuneway-grader-", ignore_cleanup_errors=True) as folder:
        limits = {"seconds": seconds, "memory": MEMORY, "processes": PROCESSES, "disk": DISK}
        text = json.dumps({**request, **limits, "folder": folder, "shields": SHIELDS})
        try:
            done = subprocess.run(  # noqa: S603 - our own program, which runs a client's code
                [sys.executable, "-I", "-c", START, root],
                input=text.encode(),
                capture_output=True,
                timeout=seconds + GRACE,
                cwd=folder,
                env={},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunnerFailed("the process that runs the code doesn't answer") from None
    return _reply(done)


def _reply(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    try:
        reply = json.loads(done.stdout)
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise RunnerFailed(f"the process that runs the code ended with status {done.returncode}")
    if "error" in reply:
        raise CodeFailed(str(reply["error"]))
    return reply
