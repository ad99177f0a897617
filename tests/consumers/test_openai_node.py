"""The `openai` package for Node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PACKAGES = "NODE_PATH"
SCRIPT = Path(__file__).with_name("judge.cjs")


def test_the_package_for_node_gets_the_same(service):
    if shutil.which("node") is None or not os.environ.get(PACKAGES):
        pytest.skip("no Node, or no package `openai` for it: nox -s consumers installs the package")
    done = subprocess.run(
        ["node", str(SCRIPT), service.base_url, "smol"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole"]
    assert found["streamed"] == found["whole"]
    assert found["parsed"]["team"] in ("billing", "shipping")
    assert found["call"]["name"] == "route"
    assert json.loads(found["call"]["arguments"])["team"] in ("billing", "shipping")
    assert found["refused"] == {"kind": "NotFoundError", "status": 404, "code": "model_not_found"}
