"""All of it in one asset of your own: check, upload, train, wait, register.

dagster dev -f examples/dagster/one_asset.py
"""

import os
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_tuneway import FineTuningResource, fine_tune

DATA = Path(os.environ.get("SUPPORT_DATA", Path(__file__).parents[1] / "data"))


@dg.asset(kinds={"tuneway"}, retry_policy=dg.RetryPolicy(max_retries=2))
def support_router(context: dg.AssetExecutionContext, tuneway: FineTuningResource) -> dg.MaterializeResult[Any]:
    """A retry adopts the job that the try before it has made."""
    return fine_tune(
        context,
        tuneway,
        training_data=DATA / "support_train.jsonl",
        model="gpt-4o-mini",
        method={"type": "supervised", "n_epochs": 1},
        name="support-router",
        alias="champion",
    )


defs = dg.Definitions(assets=[support_router], resources={"tuneway": FineTuningResource()})
