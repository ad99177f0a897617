"""`make demo` with an engine, as a user runs it: twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "examples" / "demo" / "run.py"


def demo(engine: str, home: Path) -> str:
    """Run it; gives what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OPENAI"))}
    done = subprocess.run(
        [sys.executable, str(RUN), engine],
        env=environment | {"TUNEWAY_DEMO_HOME": str(home), "PYTHONWARNINGS": ""},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    log = home / f"{engine}.log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text()[-5000:] if log.exists() else "")
    return done.stdout


def check_the_demo(engine: str, home: Path) -> None:
    """The first run trains, the second adopts, and both end with the same registered model and a report."""
    first, second = demo(engine, home), demo(engine, home)
    assert "Step 150/150" in first
    assert "was adopted" not in first
    assert "Step" not in second
    adopted = re.search(r"(ftjob-\w+) was adopted", second)
    assert adopted, second
    assert f"Created fine-tuning job: {adopted[1]}" in first
    for text in (first, second):
        assert re.search("support.router:1 is champion", text), text
        assert "trained by: bytes" in text
        found = re.search(r"tuned: (\w+) +\(expected: (\w+)\)", text)
        assert found, text
        assert found[1] == found[2]
    assert "<svg" in (home / "report.html").read_text(encoding="utf-8")
