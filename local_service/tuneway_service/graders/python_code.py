"""Python graders: a client's code, in a process of its own with limits.

This is not a sandbox: the code runs as the service's user. So it is refused unless the service was started with
`--allow-python-graders`. The limits protect from mistakes, not from attacks.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from typing import Any

from tuneway_service.graders.result import GradingError

SECONDS = 30
MEMORY = 2 * 2**30

HARNESS = """
import json, sys
given = json.load(sys.stdin)
names = {"__name__": "grader"}
exec(compile(given["source"], "grader.py", "exec"), names)
print("\\n" + json.dumps(float(names["grade"](given["sample"], given["item"]))))
"""


class CodeFailed(GradingError):
    """The code raised an error, took too long, or didn't return a number."""

    flag = "python_grader_runtime_error"


def problem(source: str) -> str | None:
    """What is wrong with the source, found without running it; None if nothing is."""
    try:
        tree = compile(source, "grader.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"source: {error}"
    return None if "grade" in tree.co_names else "source: it must define grade(sample, item)"


def run(source: str, sample: dict[str, Any], item: Any, *, seconds: float = SECONDS) -> float:
    """Run `grade(sample, item)` and return its number; raises `CodeFailed`."""
    given = json.dumps({"source": source, "sample": sample, "item": item})
    with tempfile.TemporaryDirectory(prefix="tuneway-grader-") as folder:
        try:
            done = subprocess.run(  # noqa: S603 - running a client's code is the purpose
                [sys.executable, "-I", "-c", HARNESS],
                input=given,
                capture_output=True,
                text=True,
                timeout=min(SECONDS, seconds),
                cwd=folder,
                env={},
                preexec_fn=_limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CodeFailed(f"it took longer than {SECONDS} s") from None
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        raise CodeFailed(lines[-1][:500] if lines else f"it ended with status {done.returncode}")
    try:
        return float(json.loads(done.stdout.splitlines()[-1]))
    except (LookupError, ValueError):
        raise CodeFailed("it didn't return a number") from None


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
