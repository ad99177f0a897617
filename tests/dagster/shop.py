"""The definitions that the tests of a real Dagster load."""

from __future__ import annotations

import os

import dagster as dg

from dagster_tuneway import FineTuningResource, fine_tuned_model_assets, fine_tuning_sensor
from tuneway.registry import Gate

DATA = os.environ["SHOP_DATA"]
PARTITIONS = dg.StaticPartitionsDefinition([f"customer-{number:02}" for number in range(20)])


def group(name, **more):
    return fine_tuned_model_assets(name, training_data=DATA, model="gpt-4o-mini", **more)


# what waits in its step, each step in a process of its own
lasting = group("lasting", reuse="run", cancel_on_termination=False)
ended = group("ended", reuse="run")
# one model for each customer, on the service that truly trains
customers = group("customers", partitions_def=PARTITIONS, pool="trainings", resource_key="real")
# what nobody waits for
watched = group(
    "watched", wait="sensor", partitions_def=PARTITIONS, gates=[Gate("train_loss", max=9)], alias="champion"
)


def resource(url):
    quick = {"minimum": 0.2, "maximum": 0.5}
    return FineTuningResource(base_url=os.environ[url], registry=os.environ["SHOP_REGISTRY"], settle=0.2, poll=quick)


defs = dg.Definitions(
    assets=[*lasting, *ended, *customers, *watched],
    jobs=[
        dg.define_asset_job(
            f"{one.recipe.name}_job",
            dg.AssetSelection.assets(one.job, one.fine_tuned_model),
            executor_def=dg.multiprocess_executor,
        )
        for one in (lasting, ended)
    ],
    sensors=[fine_tuning_sensor(watched, minimum_interval_seconds=1)],
    resources={"tuneway": resource("SHOP_SERVICE"), "real": resource("SHOP_REAL_SERVICE")},
    executor=dg.in_process_executor,
)
