"""The definitions that the tests of a real Dagster load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType

import dagster as dg

from dagster_tuneway import FineTuningResource, fine_tune, fine_tuned_model_assets, fine_tuning_sensor
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
# a file that is noticed when it changes; its assets get their prefix when they are loaded
noticed = fine_tuned_model_assets(
    "noticed", training_data=os.environ["SHOP_FILE"], model="gpt-4o-mini", wait="sensor", observe="* * * * *",
    automation_condition=dg.AutomationCondition.eager(),
)  # fmt: skip


@dg.asset(ins={"model": dg.AssetIn(noticed.registered_model)}, automation_condition=dg.AutomationCondition.eager())
def answers(context, model) -> None:
    """Who uses the model."""
    context.add_output_metadata({"model": model["model_id"], "ref": model["ref"]})


loaded = ModuleType("loaded")
loaded.noticed, loaded.answers = noticed, answers
renamed = dg.load_assets_from_modules([loaded], key_prefix="ml")
renamed_checks = dg.load_asset_checks_from_modules([loaded], asset_key_prefix="ml")
automation = dg.AutomationConditionSensorDefinition(
    "automation", target=renamed, default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=5
)


# what is upstream: the last of several days, and a function with a resource of its own
@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["monday", "tuesday"]))
def tickets(context) -> list:
    """Each day has other rows."""
    rows = [json.loads(line) for line in Path(DATA).read_text().splitlines()]
    return rows[:20] if context.partition_key == "monday" else rows[4:]


last = fine_tuned_model_assets(
    "last", training_data=dg.AssetDep(tickets, partition_mapping=dg.LastPartitionMapping()),
    deps=[dg.AssetSpec("external")], model="gpt-4o-mini", resource_key="real", gates=[Gate("train_loss", max=0)],
)  # fmt: skip
queried = fine_tuned_model_assets(
    "queried", training_data=lambda context: context.resources.warehouse.query(), model="gpt-4o-mini",
    resource_key="real", required_resource_keys={"warehouse"},
)  # fmt: skip


class Warehouse(dg.ConfigurableResource):
    """It has the data."""

    path: str

    def query(self):
        """The path of what a query gives."""
        return self.path


# a job of ops
@dg.op
def tune(context, real: FineTuningResource):
    """Train and register."""
    return fine_tune(context, real, training_data=DATA, model="gpt-4o-mini", name="by_op", reuse="run")


@dg.op
def use(context, version) -> None:
    """Use it."""
    context.log.info("uses %s", version["ref"])


@dg.job
def nightly():
    """Both."""
    use(tune())


def resource(url):
    quick = {"minimum": 0.2, "maximum": 0.5}
    return FineTuningResource(base_url=os.environ[url], registry=os.environ["SHOP_REGISTRY"], settle=0.2, poll=quick)


defs = dg.Definitions(
    assets=[*lasting, *ended, *customers, *watched, *renamed, tickets, *last, *queried],
    asset_checks=renamed_checks,
    jobs=[nightly]
    + [
        dg.define_asset_job(
            f"{one.recipe.name}_job",
            dg.AssetSelection.assets(one.job, one.fine_tuned_model),
            executor_def=dg.multiprocess_executor,
        )
        for one in (lasting, ended)
    ],
    sensors=[fine_tuning_sensor(watched, noticed, minimum_interval_seconds=1), automation],
    resources={
        "tuneway": resource("SHOP_SERVICE"),
        "real": resource("SHOP_REAL_SERVICE"),
        "warehouse": Warehouse(path=DATA),
    },
    executor=dg.in_process_executor,
)
