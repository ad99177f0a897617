"""The plain pipeline, as `make demo` runs it: twice, and the second run pays for nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = Path(__file__).parents[3] / "examples" / "plain" / "pipeline.py"

pytestmark = pytest.mark.slow


def run(home: Path) -> str:
    environment = os.environ | {"TUNEWAY_DEMO_HOME": str(home)}
    command = [sys.executable, str(PIPELINE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_trains_once_and_adopts_after_that(tmp_path):
    first, second = run(tmp_path), run(tmp_path)
    jobs = [re.search(r"ftjob-\w+", text)[0] for text in (first, second)]
    assert jobs[0] == jobs[1]
    assert "Step 150/150" in first
    assert "Step" not in second
    assert second.count("nothing is sent") == 2
    assert "no new job is paid" in second
    for text in (first, second):
        assert "support-router:1 is champion" in text
        assert "trained by: bytes" in text
        found = re.search(r"tuned: (\w+) +\(expected: (\w+)\)", text)
        assert found[1] == found[2]
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
