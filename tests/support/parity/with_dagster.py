"""The Dagster assets: one group of them, materialized as `dagster api execute_run` does, in an instance that stays.

The same run is a re-execution: of what has failed, else of all.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRun,
    Definitions,
    Failure,
    JobDefinition,
    ReexecutionOptions,
    RunsFilter,
    build_reconstructable_job,
    define_asset_job,
    execute_job,
    in_process_executor,
)
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._utils.interrupts import setup_interrupt_handlers
from support.parity.order import Order, Outcome, read, serve

from dagster_tuneway import FineTuningResource, fine_tuned_model_assets, output_of

TAG = "parity/run"


def name_of(order: Order) -> str:
    """What its group of assets is called."""
    return order.pipeline.replace("-", "_")


def job_of(text: str) -> JobDefinition:
    """The assets, as one job; Dagster calls this by name."""
    order = read(text)
    assets = fine_tuned_model_assets(
        name_of(order),
        training_file=order.train,
        validation_file=order.valid,
        reuse=order.reuse,
        timeout=order.timeout,
        cancel_on_termination=order.stoppable,
        gates=order.gates,
        alias=order.alias,
        checkpoint=order.checkpoint,
        register_as=order.name,
        **order.spec,
    )
    resource = FineTuningResource(base_url=order.base_url, registry=order.registry, settle=order.settle)
    everything = define_asset_job("everything", executor_def=in_process_executor)
    definitions = Definitions(assets=list(assets), jobs=[everything], resources={"tuneway": resource})
    return definitions.resolve_job_def("everything")


def run(order: Order) -> Outcome:
    """Materialize, or execute again."""
    instance = DagsterInstance.get()
    job = build_reconstructable_job("support.parity.with_dagster", "job_of", (json.dumps(asdict(order)),))
    tag = {TAG: f"{order.pipeline}.{order.run}"}
    before = instance.get_runs(RunsFilter(tags=tag), limit=1)
    again = _again(instance, before[0]) if before else None
    try:
        execute_job(job, instance, tags=tag, reexecution_options=again, raise_on_error=True)
    except Failure as failure:
        return Outcome(ended="failed", error=failure.description, final=not failure.allow_retries)
    except DagsterAssetCheckFailedError as failed:  # no policy of Dagster's retries that
        return Outcome(ended="failed", error=str(failed), final=True)
    output = output_of(instance, AssetKey([name_of(order), "registered_model"]))
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
