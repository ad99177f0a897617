"""What importing tuneway costs beside importing what it stands on.

DAG files are parsed all the time, so `import tuneway` has to be cheap, and using the client's names has to
cost no more than its libraries do. Both sides run from byte code, as what is installed does: here it is written
to a folder of the run's own, since a checkout has none of it, or old.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from _figures import figure

RUNS = 15
LIBRARIES = "import httpx, pydantic, tenacity"
HEAVY = ("typer", "rich", "numpy", "airflow", "prefect", "dagster", "starlette", "mlflow")


def seconds(code: str, byte_code: str) -> float:
    """One import in a fresh process, timed inside it: CPU time, since the wall's tells of the neighbours too.

    What comes before a line `t = now()` doesn't count.
    """
    program = f"from time import process_time as now; t = now()\n{code}\nprint(now() - t)"
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": byte_code}
    command = [sys.executable, "-c", program]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)


def medians(*codes: str, runs: int = RUNS) -> list[float]:
    """Median seconds of each, taken in turns, so that noise hits all alike."""
    with tempfile.TemporaryDirectory() as byte_code:
        for code in codes:
            seconds(code, byte_code)  # writes it
        rounds = [[seconds(code, byte_code) for code in codes] for _ in range(runs)]
    return [statistics.median(taken) for taken in zip(*rounds, strict=True)]


def heavy_imports(code: str) -> list[str]:
    """Which of the heavy modules an import drags in that its libraries don't (httpx imports rich by itself)."""
    program = f"import sys; {LIBRARIES}; s = set(sys.modules); {code}; print(*(set({HEAVY}) & (set(sys.modules) - s)))"
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return out.split()


def main() -> None:
    """Print the figures."""
    ours, peer = medians("import tuneway", LIBRARIES)
    figure("import tuneway, beside `import httpx, pydantic, tenacity`", ours=ours, peer=peer, unit="s", at_most=1.3)
    # pydantic imports lazily: this is what it costs to use the three, for a single model.
    used = "import httpx, tenacity\nfrom pydantic import BaseModel\nclass Job(BaseModel):\n    id: str"
    ours, peer = medians("from tuneway import Client, JobSpec", used)
    figure("import Client and JobSpec, beside the three libraries in use", ours=ours, peer=peer, unit="s", at_most=1.3)
    for code in ("import tuneway", "from tuneway import AsyncClient, Client, JobSpec"):
        found = heavy_imports(code)
        figure(f"heavy modules imported by `{code}`", ours=len(found), peer=None, unit="modules", at_most=0)


if __name__ == "__main__":
    main()
