"""The Prefect tasks: a flow of the five steps, against a Prefect server that outlives this process.

The same run is the same flow run, found by its name, and run once more as `prefect flow-run retry` does.
With the word `cancel` and a run's name this is what a Prefect worker does when a person cancels a run.
"""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Cancelling, Failed, Scheduled
from support.parity.order import Order, Outcome, serve

from prefect_tuneway import (
    FineTuningCredentials,
    cancel_jobs,
    create_fine_tuning_job,
    register_model,
    upload_training_file,
    validate_training_data,
    wait_for_fine_tuning_job,
)
from prefect_tuneway.tasks import worth_retrying

ONCE = {"retries": 0}  # what is tried again here is the whole run


@flow(name="parity", on_cancellation=[cancel_jobs])
def fine_tune(order: Order) -> dict[str, Any]:
    """The steps, each handing its output to the next."""
    access = FineTuningCredentials(
        base_url=order.base_url, registry_url=order.registry, options={"settle": order.settle}
    )
    checked = validate_training_data.with_options(**ONCE)(order.train, validation_file=order.valid, model=order.model)
    upload = upload_training_file.with_options(**ONCE)
    train = upload(order.train, credentials=access)
    valid = upload(order.valid, credentials=access) if order.valid else None
    job = create_fine_tuning_job.with_options(**ONCE)(
        training_file=train, validation_file=valid, credentials=access, reuse=order.reuse, **order.spec
    )
    done = wait_for_fine_tuning_job.with_options(**ONCE)(job, credentials=access, timeout=order.timeout)
    return register_model.with_options(**ONCE)(
        done,
        name=order.name,
        credentials=access,
        alias=order.alias,
        checkpoint=order.checkpoint,
        gates=order.gates,
        data=checked,
    )


def run(order: Order) -> Outcome:
    """Run the flow."""
    flow_run = _flow_run(f"{order.pipeline}/{order.run}", order)
    state = run_flow(fine_tune, flow_run=flow_run, parameters={"order": order}, return_type="state")
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        return Outcome(ended="succeeded", ref=result["ref"])
    final = not worth_retrying(None, None, Failed(data=result))
    return Outcome(ended="failed", error=str(result), final=final)


def _flow_run(name: str, order: Order) -> FlowRun:
    found = _found(name)
    with get_client(sync_client=True) as client:
        if found is None:
            return client.create_flow_run(fine_tune, name=name, parameters={"order": order})
        client.set_flow_run_state(found.id, Scheduled(name="AwaitingRetry"), force=True)
        return client.read_flow_run(found.id)


def _found(name: str) -> FlowRun | None:
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"name": {"any_": [name]}}))
    return runs[0] if runs else None


def mark(name: str) -> None:
    """What `prefect flow-run cancel` does."""
    found = _found(name)
    assert found is not None
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(found.id, Cancelling(), force=True)


def cancel(name: str) -> None:
    """What the run's worker does when it has ended the run's process: it runs the flow's hooks."""
    found = _found(name)
    assert found is not None
    assert found.state is not None
    for hook in fine_tune.on_cancellation_hooks:
        hook(fine_tune, found, found.state)


if __name__ == "__main__":
    if sys.argv[1:]:
        {"mark": mark, "cancel": cancel}[sys.argv[1]](sys.argv[2])
    else:
        serve(run)
