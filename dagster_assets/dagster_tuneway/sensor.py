"""The sensor: waits for all jobs, and needs no run, worker or thread for it."""

from __future__ import annotations

from dagster import (
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
)

from dagster_tuneway._keys import MadeAs
from dagster_tuneway.factory import FineTunedModelAssets
from tuneway.errors import InvalidSpec


def fine_tuning_sensor(
    *models: FineTunedModelAssets,
    name: str = "fine_tuning_jobs",
    minimum_interval_seconds: int = 30,
    time_limit: float = 30.0,
    default_status: DefaultSensorStatus = DefaultSensorStatus.RUNNING,
    description: str | None = None,
) -> SensorDefinition:
    """Make the sensor that watches the jobs of these models.

        router = fine_tuned_model_assets("support_router", ..., wait="sensor")
        tone = fine_tuned_model_assets("tone", ..., wait="sensor")
        Definitions(assets=[*router, *tone], sensors=[fine_tuning_sensor(router, tone)], resources=...)

    Each tick looks at all open jobs at once: a hundred cost one request. When a job has succeeded, the sensor
    reports the materialization of `fine_tuned_model`, with the same metadata as a run, and asks for a run of
    `registered_model` (unless that has an automation condition of its own). When a job has failed, was cancelled
    or didn't end in time, it reports the check `trained` as failed, with the service's own reason.

    Each submission is reported once, whatever dies and whenever: what was reported before is read from Dagster's
    own log, not only from the sensor's cursor.

    Args:
        models: Results of `fine_tuned_model_assets(…, wait="sensor")`, all with the same resource.
        name: The sensor's name.
        minimum_interval_seconds: The least time between two ticks.
        time_limit: Seconds that a tick may take; what is left is done in the next one. Dagster's own limit is 60,
            unless DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS says otherwise.
        default_status: Whether it is on without having been switched on.
        description: What Dagster shows of it.
    """
    recipes = [model.recipe for model in models]
    keys = {recipe.resource_key for recipe in recipes}
    if len(keys) != 1:
        raise InvalidSpec(
            f"a sensor watches one account's jobs, and these models use {len(keys)} resources",
            field="models",
            hint="Make a sensor for each resource.",
        )
    for recipe in recipes:
        if recipe.wait != "sensor":
            raise InvalidSpec(
                f"the jobs of {recipe.group} are waited for in their step", field="models", hint='Give wait="sensor".'
            )
    (resource_key,) = keys

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        from dagster_tuneway._watch import Tick, in_graph

        return Tick(context, in_graph(context, recipes), getattr(context.resources, resource_key), time_limit).run()

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        minimum_interval_seconds=minimum_interval_seconds,
        description=description or "Looks at all open fine-tuning jobs, and reports those that have ended.",
        default_status=default_status,
        asset_selection=MadeAs(recipe.keys.registered for recipe in recipes),
        required_resource_keys=keys,
    )
