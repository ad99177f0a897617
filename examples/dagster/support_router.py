"""A model that routes support tickets: checked data, a budget, a champion, trained again when the data is new.

    tuneway serve --model gpt-4o-mini=bytes &
    export OPENAI_BASE_URL=http://127.0.0.1:8765/v1
    dagster dev -f examples/dagster/support_router.py

Materialize all, twice: the second time the job is adopted, and its asset says why. Pointed at another service
(OPENAI_BASE_URL and OPENAI_API_KEY) it is the same project.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import dagster as dg

from dagster_tuneway import FineTuningResource, fine_tuned_model_assets
from tuneway import Supervised
from tuneway.registry import Gate, NoWorseThanChampion

DATA = Path(os.environ.get("SUPPORT_DATA", Path(__file__).parents[1] / "data"))


@dg.asset(group_name="support_router", kinds={"jsonl"})
def tickets() -> str:
    """Answered tickets, as a file: in earnest, what a query of your warehouse writes."""
    return str(DATA / "support_train.jsonl")


router = fine_tuned_model_assets(
    "support_router",
    training_data=tickets,
    validation_data=DATA / "support_valid.jsonl",
    model="gpt-4o-mini",
    method=Supervised(n_epochs=3),
    seed=7,
    max_usd=5,
    timeout=6 * 3600,
    alias="champion",
    gates=[Gate("full_valid_loss", max=1.0), NoWorseThanChampion("full_valid_loss", tolerance=0.05)],
    owners=["team:support"],
    pool="fine_tuning",
    automation_condition=dg.AutomationCondition.eager(),  # new tickets are trained on without being asked
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=35), warn_window=timedelta(days=30)),
)

defs = dg.Definitions(
    assets=[tickets, *router],
    resources={"tuneway": FineTuningResource(registry=os.environ.get("TUNEWAY_REGISTRY_URI"))},
)
