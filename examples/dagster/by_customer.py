"""One model for each customer, and no run that waits: the sensor reports what becomes of the jobs.

    tuneway serve --model gpt-4o-mini=bytes &
    export OPENAI_BASE_URL=http://127.0.0.1:8765/v1
    dagster dev -f examples/dagster/by_customer.py

Start a backfill of all partitions of `training_file` and `job`: each run ends when its job is submitted. The
sensor looks at all open jobs at once, reports each model, and asks for the run that registers it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_tuneway import FineTuningResource, fine_tuned_model_assets, fine_tuning_sensor
from tuneway.registry import Gate

DATA = Path(os.environ.get("SUPPORT_DATA", Path(__file__).parents[1] / "data"))
CUSTOMERS = ("acme", "globex", "initech", "umbrella")


def tickets_of(context: dg.AssetExecutionContext) -> Iterator[dict[str, Any]]:
    """A customer's tickets: here every fourth, in earnest what your database has of this customer."""
    first = CUSTOMERS.index(context.partition_key)
    lines = (DATA / "support_train.jsonl").read_text(encoding="utf-8").splitlines()
    return map(json.loads, lines[first :: len(CUSTOMERS)])


routers = fine_tuned_model_assets(
    "router",
    training_data=tickets_of,
    model="gpt-4o-mini",
    partitions_def=dg.StaticPartitionsDefinition(list(CUSTOMERS)),
    wait="sensor",
    timeout=24 * 3600,
    alias="champion",
    gates=[Gate("train_loss", max=1.0)],
)

defs = dg.Definitions(
    assets=routers,
    sensors=[fine_tuning_sensor(routers, minimum_interval_seconds=15)],
    resources={"tuneway": FineTuningResource()},
)
