"""For those who write their asset themselves: all steps in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from dagster import AssetExecutionContext, Failure, MaterializeResult

from dagster_tuneway._keys import Keys
from dagster_tuneway._log import OUTPUT, told_to_dagster
from dagster_tuneway._recipe import AssetRecipe
from dagster_tuneway.fields import AssetFields
from dagster_tuneway.resource import FineTuningResource

if TYPE_CHECKING:
    from tuneway.client import StartedJob


def fine_tune(
    context: AssetExecutionContext,
    tuneway: FineTuningResource,
    *,
    name: str | None = None,
    **fields: Unpack[AssetFields],
) -> MaterializeResult[Any]:
    """Check, upload, train, wait, and register if there is a name: all of it in an asset of your own.

        @asset
        def support_router(context: AssetExecutionContext, tuneway: FineTuningResource) -> MaterializeResult:
            return fine_tune(context, tuneway, training_data="train.jsonl", model="gpt-4o-mini")

    Every step of it can be repeated: a retry or a re-execution finds the file, adopts the job, and registers it
    once. Bad data, an estimate above the budget, and gates that refuse fail the step.

    Args:
        context: The asset's.
        tuneway: The resource.
        name: The model's name in the registry; without one it isn't registered.
        fields: What to train, and what shall happen with the model: see `AssetFields`. The suffix is the name, or
            the asset's, unless given.
    """
    from dagster_tuneway._registering import AssetRegistration
    from dagster_tuneway._training import Attempt

    key = context.asset_key
    keys = Keys(training_file=key, job=key, model=key, registered=key)
    with told_to_dagster(tuneway):
        recipe = AssetRecipe.of(fields, name=name or key.path[-1], keys=keys, registers=name is not None)
        attempt = Attempt(context, recipe, tuneway)
        started = attempt.start(recipe.recipe(context, {}))
        attempt.wait()
        trained = _joined(_data_metadata(started), attempt.trained())
        if name is None:
            return trained
        registration = AssetRegistration(context, recipe, tuneway)
        registration.register(attempt.output)
    if registration.refusals:
        words = "; ".join(verdict.why for verdict in registration.refusals)
        ref = registration.version.ref
        raise Failure(f"{ref} is registered, and refused: {words}", metadata=trained.metadata, allow_retries=False)
    registered = dict(registration.result().metadata or {})
    return _joined(registered, trained, output=registered[OUTPUT])


def _data_metadata(started: StartedJob) -> dict[str, Any]:
    """What Dagster shows of the data."""
    from dagster_tuneway._metadata import uploaded_metadata

    assert started.report is not None
    assert started.training_file is not None
    return uploaded_metadata(started.report, started.training_file.id)


def _joined(more: Mapping[str, Any], trained: MaterializeResult[Any], output: Any = None) -> MaterializeResult[Any]:
    """A model with more metadata. Where both have an entry, the model's stays, but for the step's output."""
    metadata = {**more, **(trained.metadata or {})} | ({} if output is None else {OUTPUT: output})
    return MaterializeResult(metadata=metadata, data_version=trained.data_version)
