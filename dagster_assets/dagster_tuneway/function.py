"""For those who write their asset themselves: all steps in one call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dagster import AssetExecutionContext, Failure, MaterializeResult

from dagster_tuneway import _checks
from dagster_tuneway._data import Data, DataSource
from dagster_tuneway._log import OUTPUT, told_to_dagster
from dagster_tuneway._recipe import AssetRecipe, Keys, settings_of
from dagster_tuneway._runs import Reuse
from dagster_tuneway.resource import FineTuningResource

if TYPE_CHECKING:
    from tuneway import DPO, Reinforcement, Supervised
    from tuneway.registry import GateLike


def fine_tune(
    context: AssetExecutionContext,
    tuneway: FineTuningResource,
    *,
    training_file: Data,
    model: str,
    validation_file: Data | None = None,
    method: Supervised | DPO | Reinforcement | Mapping[str, Any] | None = None,
    suffix: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, str] | None = None,
    integrations: Sequence[Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    reuse: Reuse = "content",
    timeout: float | None = None,
    cancel_on_termination: bool = False,
    max_usd: float | None = None,
    data_options: Mapping[str, Any] | None = None,
    name: str | None = None,
    alias: str | None = None,
    gates: Sequence[GateLike] = (),
    held_out: str | PathLike[str] | Sequence[Mapping[str, Any]] | None = None,
    score: Literal["exact", "contains"] | Callable[[str, str], float | bool] = "exact",
    checkpoint: Literal["last", "best"] = "last",
) -> MaterializeResult[Any]:
    """Check, upload, train, wait, and register if there is a name: all of it in an asset of your own.

        @asset
        def support_router(context: AssetExecutionContext, tuneway: FineTuningResource) -> MaterializeResult:
            return fine_tune(context, tuneway, training_file="train.jsonl", model="gpt-4o-mini")

    Every step of it can be repeated: a retry or a re-execution finds the file, adopts the job, and registers
    it once. Bad data, a budget that is too small, and gates that refuse fail the step.

    Args:
        context: The asset's.
        tuneway: The resource.
        training_file: A path, rows, or a function of the context that gives one of these.
        model: The model to start from.
        validation_file: Data to measure on, likewise.
        method: `Supervised(…)`, `DPO(…)`, `Reinforcement(…)`, or the same as JSON.
        suffix: A word in the new model's name; the asset's, unless given.
        seed: The same seed and data give the same training, as far as the service can.
        metadata: Up to 14 pairs of your own; 13 with `cancel_on_termination`.
        integrations: Up to five, Weights & Biases among them.
        hyperparameters: The old place for them; `method` is the new one.
        extra_body: Fields that only your service knows.
        reuse: As in `fine_tuned_model_assets`.
        timeout: Seconds to wait; the job goes on.
        cancel_on_termination: Whether the job is cancelled when somebody terminates the run.
        max_usd: A training that is estimated to cost more isn't begun.
        data_options: Further arguments of `tuneway.dataset.validate`.
        name: The model's name in the registry; without one it isn't registered.
        alias: Moved to the version if the gates agree.
        gates: What the version must show.
        held_out: Rows that both the base model and the tuned one are asked.
        score: How answers to them are scored.
        checkpoint: "last" or "best".
    """
    from dagster_tuneway._registering import AssetRegistration
    from dagster_tuneway._training import Attempt
    from dagster_tuneway._uploading import CheckedData

    key = context.asset_key
    with told_to_dagster(tuneway), tempfile.TemporaryDirectory(prefix="tuneway-") as folder:
        recipe = AssetRecipe(
            name=name or key.path[-1],
            keys=Keys(training_file=key, job=key, model=key, registered=key),
            training=DataSource.of("training_data", training_file),
            validation=None if validation_file is None else DataSource.of("validation_data", validation_file),
            settings=settings_of(
                model=model, method=method, suffix=suffix, seed=seed, metadata=metadata, integrations=integrations,
                hyperparameters=hyperparameters, extra_body=extra_body,
            ),
            reuse=reuse, timeout=timeout, cancel_on_termination=cancel_on_termination, max_usd=max_usd,
            data_options=data_options or {}, gates=gates, held_out=held_out, score=score, alias=alias,
            checkpoint=checkpoint,
        )  # fmt: skip
        data = CheckedData.read(context, recipe, tuneway, {}, Path(folder))
        _checks.refuse(_checks.data_check_results(data.report, max_usd))
        sent = data.send(context, tuneway)
        attempt = Attempt(context, recipe, tuneway)
        attempt.submit(sent)
        attempt.wait()
        trained = attempt.trained()
        if name is None:
            return _with(trained, data.metadata(sent))
        registration = AssetRegistration(context, recipe, tuneway)
        registration.register(attempt.handed_on, sent)
    if registration.refusals:
        words = "; ".join(verdict.why for verdict in registration.refusals)
        ref = registration.version.ref
        raise Failure(f"{ref} is registered, and refused: {words}", metadata=trained.metadata, allow_retries=False)
    registered = registration.result()
    return _with(trained, data.metadata(sent) | dict(registered.metadata or {}))


def _with(trained: MaterializeResult[Any], more: Mapping[str, Any]) -> MaterializeResult[Any]:
    """A model, and what else there is to tell; what both tell is the model's, but for the output."""
    told = dict(trained.metadata or {})
    output = {OUTPUT: more[OUTPUT]} if OUTPUT in more else {}
    return MaterializeResult(metadata=dict(more) | told | output, data_version=trained.data_version)
