"""The Prefect tasks: step by step, or all in one flow, against a Prefect server that outlives this process.

The same run is the same flow run, found by its name, and run once more as `prefect flow-run retry` does.
With the word `cancel` and a run's name this is what a Prefect worker does when a person cancels a run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from prefect import Flow, Task, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Cancelling, Failed, Scheduled
from support.parity.order import Order, Outcome, serve

from prefect_tuneway import FineTuningCredentials, cancel_jobs, fine_tune, flows, tasks
from prefect_tuneway.tasks import worth_retrying

for task in [*vars(tasks).values(), *vars(flows).values()]:
    if isinstance(task, Task):
        task.retries = 0  # the whole run is run again instead


@flow(name="parity", on_cancellation=[cancel_jobs])
def steps(order: Order) -> dict[str, Any]:
    """The steps, each handing its output to the next."""
    access = _credentials(order)
    data = {"training_data": order.train, "validation_data": order.valid}
    tasks.validate_training_data(**data, model=order.model)
    file = tasks.upload_training_file(**data, credentials=access)
    job = tasks.create_fine_tuning_job(training_file=file, credentials=access, reuse=order.reuse, **order.spec)
    done = tasks.wait_for_fine_tuning_job(job, credentials=access, timeout=order.timeout)
    return tasks.register_model(done, credentials=access, **_registration(order))


def _all_in_one(order: Order) -> dict[str, Any]:
    """The parameters of the flow that does it all."""
    data = {"training_data": order.train, "validation_data": order.valid}
    how = {"credentials": _credentials(order), "reuse": order.reuse, "timeout": order.timeout}
    return data | order.spec | how | _registration(order)


def _credentials(order: Order) -> FineTuningCredentials:
    options = order.service
    access = FineTuningCredentials(base_url=options.pop("base_url"), registry=order.registry, options=options)
    if order.dialect:  # the hook of a run that is cancelled knows the environment, and what is stored
        access.save("service", overwrite=True)
    return access


def _registration(order: Order) -> dict[str, Any]:
    return {"name": order.name, "alias": order.alias, "checkpoint": order.checkpoint, "gates": order.gates}


FLOWS: dict[str, Flow[..., Any]] = {one.name: one for one in (steps, fine_tune)}


def run(order: Order) -> Outcome:
    """Run the flow in the form that the order asks for: "steps" or "one"."""
    one = order.form == "one"
    played, parameters = (fine_tune, _all_in_one(order)) if one else (steps, {"order": order})
    flow_run = _flow_run(f"{order.pipeline}/{order.run}", played, parameters)
    state: Any = run_flow(played, flow_run=flow_run, parameters=parameters, return_type="state")
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        return Outcome(ended="succeeded", ref=result["ref"])
    final = not worth_retrying(None, None, Failed(data=result))
    return Outcome(ended="failed", error=str(result), final=final)


def _flow_run(name: str, played: Flow[..., Any], parameters: Mapping[str, Any]) -> FlowRun:
    found = _found(name)
    with get_client(sync_client=True) as client:
        if found is None:
            return client.create_flow_run(played, name=name, parameters=dict(parameters))
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
    with get_client(sync_client=True) as client:
        played = FLOWS[client.read_flow(found.flow_id).name]
    for hook in played.on_cancellation_hooks:
        hook(played, found, found.state)


if __name__ == "__main__":
    if sys.argv[1:]:
        {"mark": mark, "cancel": cancel}[sys.argv[1]](sys.argv[2])
    else:
        serve(run)
