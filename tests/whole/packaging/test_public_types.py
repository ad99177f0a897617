"""What a user's type checker sees, told by another one than ours: every public thing has a type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("basedpyright", reason="uv sync --group public-types")

# Programs rather than parts to build on; what needs numpy or starlette is typed as well as these are.
PROGRAMS = ("tuneway.cli", "tuneway_service")


def test_a_second_type_checker_knows_the_type_of_everything_public():
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--verifytypes", "tuneway", "--ignoreexternal", "--outputjson"],
        env=os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    symbols = [symbol for symbol in found["symbols"] if not symbol["name"].startswith(PROGRAMS)]
    assert {"tuneway.Client", "tuneway.JobSpec", "tuneway.registry.open_registry"} <= {one["name"] for one in symbols}
    unsure = [
        f"{symbol['name']}: {[told['message'] for told in symbol['diagnostics']]}"
        for symbol in symbols
        if symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]
    ]
    assert unsure == []
