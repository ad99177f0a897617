"""Run `examples/prefect/nightly.py` once, beside a Prefect server that lives as long as the run.

Each run is a flow run of its own. It reuses jobs by content: one that trained on the same data is adopted.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

HOME = Path(os.environ["TUNEWAY_DEMO_HOME"]).resolve() / "prefect"

# before Prefect is imported: it reads these once
os.environ |= {
    "PREFECT_HOME": str(HOME),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
}
os.environ.pop("PREFECT_API_URL", None)
sys.path.insert(0, str(Path(__file__).parents[1] / "prefect"))

from nightly import nightly  # noqa: E402
from telling import tell  # noqa: E402

from prefect_tuneway import tasks  # noqa: E402

STEPS = (
    tasks.validate_training_data,
    tasks.upload_training_file,
    tasks.create_fine_tuning_job,
    tasks.wait_for_fine_tuning_job,
    tasks.register_model,
)

began: dict[Any, float] = {}


def starts(task: Any, run: Any, state: Any) -> None:  # noqa: ARG001
    """Prefect calls this when a task starts."""
    began[run.id] = time.monotonic()
    tell(step=task.name, state="running")


def ends(task: Any, run: Any, state: Any) -> None:
    """And this when it has ended."""
    tell(step=task.name, state=state.name.lower(), seconds=time.monotonic() - began[run.id])
    if state.is_failed():
        tell(note=state.message)


def main() -> None:
    """Run the flow."""
    HOME.mkdir(parents=True, exist_ok=True)
    for step in STEPS:
        step.on_running(starts)
        step.on_completion(ends)
        step.on_failure(ends)
    tell(note="starting Prefect's server ...")
    nightly(reuse="content")


if __name__ == "__main__":
    main()
