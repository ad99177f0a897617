"""Materialize the assets of `examples/dagster/support_router.py` once, in this process, on an instance that stays.

The second time, the data is the same, so its job is adopted: assets reuse by content.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from pathlib import Path

HOME = Path(os.environ["TUNEWAY_DEMO_HOME"]).resolve() / "dagster"

# before Dagster is imported: it reads these once
os.environ |= {"DAGSTER_HOME": str(HOME), "DAGSTER_DISABLE_TELEMETRY": "yes"}
HOME.mkdir(parents=True, exist_ok=True)
warnings.simplefilter("ignore")
sys.path.insert(0, str(Path(__file__).parents[1] / "dagster"))

from dagster import DagsterEventType, DagsterInstance  # noqa: E402
from dagster._core.utils import make_new_run_id  # noqa: E402
from support_router import defs  # noqa: E402
from telling import tell  # noqa: E402

STATES = {
    DagsterEventType.STEP_START: "running",
    DagsterEventType.STEP_SUCCESS: "success",
    DagsterEventType.STEP_FAILURE: "failed",
}


class Steps(threading.Thread):
    """Reads the run's events as they come."""

    def __init__(self, instance: DagsterInstance, run_id: str) -> None:
        super().__init__(daemon=True)
        self.instance = instance
        self.run_id = run_id
        self.over = threading.Event()
        self.began: dict[str, float] = {}

    def run(self) -> None:
        """Tell each once."""
        told = 0
        while True:
            last = self.over.wait(0.2)
            entries = self.instance.all_logs(self.run_id, of_type=set(STATES))
            for entry in entries[told:]:
                self._tell(entry.get_dagster_event().event_type, str(entry.step_key), entry.timestamp)
            told = len(entries)
            if last:
                return

    def _tell(self, kind: DagsterEventType, step: str, at: float) -> None:
        if kind is DagsterEventType.STEP_START:
            self.began[step] = at
            tell(step=step, state=STATES[kind])
        else:
            tell(step=step, state=STATES[kind], seconds=at - self.began.get(step, at))


def main() -> None:
    """Materialize."""
    with DagsterInstance.get() as instance:
        steps = Steps(instance, make_new_run_id())
        steps.start()
        started = time.monotonic()
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, run_id=steps.run_id, raise_on_error=False
        )
        steps.over.set()
        steps.join()
        print(f"{result.success=} after {time.monotonic() - started:.1f} s")
        if not result.success:
            sys.exit(1)


if __name__ == "__main__":
    main()
