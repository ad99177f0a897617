"""The Dagster assets: materialized as `dagster api execute_run` does, in an instance that stays.

In the step-by-step form they are a group of assets; in the one-step form, one asset that calls `fine_tune`. The same
run is a re-execution: of what has failed, else of all.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from dagster import (
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    DagsterRun,
    Definitions,
    Failure,
    JobDefinition,
    ReexecutionOptions,
    RunsFilter,
    asset,
    build_reconstructable_job,
    define_asset_job,
    execute_job,
    in_process_executor,
)
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._utils.interrupts import setup_interrupt_handlers
from support.parity.order import Order, Outcome, read, serve

from dagster_tuneway import AssetFields, FineTuningResource, fine_tune, fine_tuned_model_assets, output_of
from tuneway.errors import InvalidSpec

TAG = "parity/run"


def name_of(order: Order) -> str:
    """The name of its assets."""
    return order.pipeline.replace("-", "_")


def fields_of(order: Order) -> AssetFields:
    """What both forms are told."""
    return {
        "training_data": order.train,
        "validation_data": order.valid,
        "reuse": order.reuse,
        "timeout": order.timeout,
        "cancel_on_termination": order.stoppable,
        "gates": order.gates,
        "alias": order.alias,
        "checkpoint": order.checkpoint,
        **order.spec,
    }


def steps(order: Order) -> tuple[list[AssetsDefinition], AssetKey]:
    """The step-by-step form, and the asset whose output is the registered version."""
    made = fine_tuned_model_assets(order.name, key_prefix=name_of(order), **fields_of(order))
    return list(made), made.registered_model


def one_step(order: Order) -> tuple[list[AssetsDefinition], AssetKey]:
    """The one-step form, likewise."""

    @asset(name=name_of(order))
    def whole(context, tuneway: FineTuningResource):  # Dagster takes no annotation of a context that is text
        return fine_tune(context, tuneway, name=order.name, **fields_of(order))

    return [whole], whole.key


FORMS = {"steps": steps, "one": one_step}


def job_of(text: str) -> JobDefinition:
    """The assets, as one job; Dagster calls this by name."""
    order = read(text)
    assets, _ = FORMS[order.form](order)
    resource = FineTuningResource(**order.service, registry=order.registry)
    everything = define_asset_job("everything", executor_def=in_process_executor)
    definitions = Definitions(assets=assets, jobs=[everything], resources={"tuneway": resource})
    return definitions.resolve_job_def("everything")


def run(order: Order) -> Outcome:
    """Materialize, or execute again."""
    instance = DagsterInstance.get()
    text = json.dumps(asdict(order))
    try:
        job = build_reconstructable_job("support.parity.with_dagster", "job_of", (text,))
    except InvalidSpec as error:  # the definitions don't load
        return Outcome(ended="failed", error=str(error), final=True)
    tag = {TAG: f"{order.pipeline}.{order.run}"}
    before = instance.get_runs(RunsFilter(tags=tag), limit=1)
    again = _again(instance, before[0]) if before else None
    try:
        execute_job(job, instance, tags=tag, reexecution_options=again, raise_on_error=True)
    except Failure as failure:
        return Outcome(ended="failed", error=failure.description, final=not failure.allow_retries)
    except DagsterAssetCheckFailedError as failed:  # no policy of Dagster's retries that
        return Outcome(ended="failed", error=str(failed), final=True)
    _, registered = FORMS[order.form](order)
    output = output_of(instance, registered)
    assert output is not None
    return Outcome(ended="succeeded", ref=output["ref"])


def _again(instance: DagsterInstance, before: DagsterRun) -> ReexecutionOptions:
    """Execute a run again. One that nobody has ended was killed: what watches runs marks it as failed."""
    if not before.is_finished:
        instance.report_run_failed(before, "The run worker is gone.")
    if before.is_success:
        return ReexecutionOptions(parent_run_id=before.run_id)
    return ReexecutionOptions.from_failure(before.run_id, instance)


if __name__ == "__main__":
    setup_interrupt_handlers()
    serve(run)
