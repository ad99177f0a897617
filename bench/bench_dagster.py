"""500 open jobs watched by one sensor tick, beside asking for each; what importing the assets adds to Dagster.

The tick is the sensor's own, as Dagster's daemon has it evaluated: it reads the submissions from Dagster's log,
looks at all jobs, reports nothing since all are open, and keeps its cursor. The peer is the loop of the
official fine-tuning example, once round for each open job: one `retrieve` by the official client. Both ask the
same server, in a process of its own, which answers at once; a real one takes a while for each request, so what
is compared here is the least that the peer's requests can cost.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from _figures import figure
from _jobs_server import jobs_server
from bench_import import medians

COUNT = 500
RUNS = 7
OPEN = 3600.0  # seconds until the first job ends

os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"


def asked(root: str) -> int:
    """Requests so far."""
    return len(httpx.get(f"{root}/stats", trust_env=False).json()["asked"])


@contextmanager
def sensor(root: str) -> Iterator[tuple[Callable[[str | None], Any], Any]]:
    """A sensor on an instance of its own, with a submission for each job in the log; gives its tick."""
    import dagster as dg

    from dagster_tuneway import FineTuningResource, fine_tuned_model_assets, fine_tuning_sensor

    models = fine_tuned_model_assets("bench", training_data="none.jsonl", model="gpt-4o-mini", wait="sensor")
    resources = {"tuneway": FineTuningResource(base_url=f"{root}/v1")}
    watching = fine_tuning_sensor(models)
    defs = dg.Definitions(assets=models, sensors=[watching], resources=resources)
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:
        for number in range(COUNT):
            wait = {"job_id": f"ftjob-{number}"}
            instance.report_runless_asset_event(
                dg.AssetMaterialization(models.job, metadata={"tuneway": {"job_id": f"ftjob-{number}", "wait": wait}})
            )

        def tick(cursor: str | None) -> Any:
            with dg.build_sensor_context(
                instance=instance, cursor=cursor, definitions=defs, resources=resources
            ) as context:
                return watching.evaluate_tick(context)

        yield tick, instance


def ours(root: str) -> dict[str, float]:
    """A tick when all jobs are known and open."""
    with sensor(root) as (tick, _):
        cursor = tick(None).cursor
        assert len(json.loads(cursor)["open"]) == COUNT
        took, before = [], asked(root)
        for _ in range(RUNS):
            start = time.perf_counter()
            cursor = tick(cursor).cursor
            took.append(time.perf_counter() - start)
        return {"seconds": statistics.median(took), "requests": (asked(root) - before) / RUNS, "bytes": len(cursor)}


def peer(root: str) -> dict[str, float]:
    """One `retrieve` for each job, by the official client."""
    from openai import OpenAI

    with OpenAI(base_url=f"{root}/v1", api_key="none") as client:
        took, before = [], asked(root)
        for _ in range(RUNS):
            start = time.perf_counter()
            for number in range(COUNT):
                client.fine_tuning.jobs.retrieve(f"ftjob-{number}")
            took.append(time.perf_counter() - start)
        return {"seconds": statistics.median(took), "requests": (asked(root) - before) / RUNS}


def import_cost() -> tuple[float, float]:
    """Median seconds of importing the assets, the resource and the sensor after Dagster, and of Dagster itself."""
    names = "FineTuningResource, fine_tuned_model_assets, fine_tuning_sensor"
    both = f"import dagster\nt = now()\nfrom dagster_tuneway import {names}"
    more, theirs = medians(both, "import dagster", runs=RUNS)
    return more, theirs


def main() -> None:
    """Print the figures."""
    warnings.simplefilter("ignore")  # Dagster's own, about itself
    with jobs_server(count=COUNT, first=OPEN, last=2 * OPEN) as root:
        tick, loop = ours(root), peer(root)
    what = "500 open jobs, one tick, beside one retrieve per job"
    figure(f"{what}: requests", ours=tick["requests"], peer=loop["requests"], unit="", at_most=0.02)
    figure(f"{what}: time", ours=tick["seconds"], peer=loop["seconds"], unit="s", at_most=0.5)
    figure("500 open jobs: the cursor", ours=tick["bytes"] / 1024, peer=None, unit="KiB", at_most=128)
    more, dagster = import_cost()
    figure("import dagster_tuneway, after Dagster itself", ours=more, peer=dagster, unit="s", at_most=0.1)


if __name__ == "__main__":
    main()
