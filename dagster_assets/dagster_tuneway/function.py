"""For those who write their asset or op themselves: all steps in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack, cast, overload

from dagster import AssetExecutionContext, AssetKey, Failure, MaterializeResult, OpExecutionContext, Output

from dagster_tuneway._keys import Keys
from dagster_tuneway._log import OUTPUT, told_to_dagster
from dagster_tuneway._recipe import AssetRecipe
from dagster_tuneway.fields import AssetFields
from dagster_tuneway.resource import FineTuningResource

if TYPE_CHECKING:
    from tuneway.client import StartedJob


@overload
def fine_tune(
    context: AssetExecutionContext,
    tuneway: FineTuningResource,
    *,
    name: str | None = None,
    **fields: Unpack[AssetFields],
) -> MaterializeResult[Any]: ...


@overload
def fine_tune(
    context: OpExecutionContext,
    tuneway: FineTuningResource,
    *,
    name: str | None = None,
    **fields: Unpack[AssetFields],
) -> Output[dict[str, Any]]: ...


def fine_tune(
    context: AssetExecutionContext | OpExecutionContext,
    tuneway: FineTuningResource,
    *,
    name: str | None = None,
    **fields: Unpack[AssetFields],
) -> MaterializeResult[Any] | Output[dict[str, Any]]:
    """Check, upload, train, wait, and register if there is a name: all of it in an asset or op of your own.

        @asset
        def support_router(context: AssetExecutionContext, tuneway: FineTuningResource) -> MaterializeResult:
            return fine_tune(context, tuneway, training_data="train.jsonl", model="gpt-4o-mini")

    In an op, of a job, a graph or an asset made of a graph, the output's value is what the last step hands on: the
    version in the registry, or the job if there is no name.

    Every step of it can be repeated: a retry or a re-execution finds the file, adopts the job, and registers it
    once. Bad data, an estimate above the budget, and gates that refuse fail the step.

    Args:
        context: The asset's or the op's.
        tuneway: The resource.
        name: The model's name in the registry; without one it isn't registered.
        fields: What to train, and what shall happen with the model: see `AssetFields`. The suffix is the name, or
            the asset's or op's, unless given.
    """
    from dagster_tuneway._registering import AssetRegistration
    from dagster_tuneway._training import Attempt

    step = cast("AssetExecutionContext", context)  # an op's has all that is used here
    key, in_op = _place(context)
    keys = Keys(training_file=key, job=key, model=key, registered=key)
    with told_to_dagster(tuneway):
        recipe = AssetRecipe.of(fields, name=name or key.path[-1], keys=keys, registers=name is not None)
        attempt = Attempt(step, recipe, tuneway)
        started = attempt.start(recipe.recipe(step, {}))
        attempt.wait()
        trained = _joined(_data_metadata(started), attempt.trained())
        if name is None:
            return _as_output(trained) if in_op else trained
        registration = AssetRegistration(step, recipe, tuneway)
        registration.register(attempt.output)
    if registration.refusals:
        words = "; ".join(verdict.why for verdict in registration.refusals)
        ref = registration.version.ref
        raise Failure(f"{ref} is registered, and refused: {words}", metadata=trained.metadata, allow_retries=False)
    registered = dict(registration.result().metadata or {})
    whole = _joined(registered, trained, output=registered[OUTPUT])
    return _as_output(whole) if in_op else whole


def _place(context: AssetExecutionContext | OpExecutionContext) -> tuple[AssetKey, bool]:
    """The asset that asks; or the place of the op, in the form of a key, if it is one."""
    op = context.op_execution_context if isinstance(context, AssetExecutionContext) else context
    path = op.op_handle.path
    if not op.has_assets_def:
        return AssetKey([op.job_name, *path]), True
    return (op.asset_key, False) if len(path) == 1 else (AssetKey(path), True)


def _as_output(made: MaterializeResult[Any]) -> Output[dict[str, Any]]:
    metadata: dict[str, Any] = dict(made.metadata or {})
    return Output(metadata[OUTPUT].value, metadata=metadata)


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
