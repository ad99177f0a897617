"""The plain client, as `examples/plain` uses it: what all others are compared with."""

from __future__ import annotations

from support.parity.order import Order, Outcome, serve

from tuneway import Client, Job, JobSpec, Recipe, Requester
from tuneway.errors import TunewayError


def run(order: Order) -> Outcome:
    """Fine-tune in one call, or in five, one after another."""
    fine_tune = in_one_call if order.form == "one" else step_by_step
    try:
        with Client(**order.service) as client:
            ref = fine_tune(client, order)
    except TunewayError as error:
        return Outcome(ended="failed", error=str(error), final=not error.retryable)
    return Outcome(ended="succeeded", ref=ref)


def requester(order: Order) -> Requester:
    """Who asks."""
    return Requester(pipeline=order.pipeline, run=str(order.run))


def in_one_call(client: Client, order: Order) -> str:
    """`fine_tune` of a recipe."""
    recipe = Recipe(**order.spec, training_data=order.train, validation_data=order.valid)
    result = client.fine_tune(
        recipe, requester(order), reuse=order.reuse, timeout=order.timeout, on_event=print, name=order.name,
        registry=order.registry, alias=order.alias, checkpoint=order.checkpoint, gates=order.gates,
    )  # fmt: skip
    assert result.version is not None
    return result.version.ref


def step_by_step(client: Client, order: Order) -> str:
    """Check, upload, submit, wait, register."""
    report = client.validate(order.train, validation_data=order.valid, model=order.model)
    report.raise_for_errors()
    file = client.upload(order.train, validation_data=order.valid, report=report)
    spec = JobSpec(**order.spec, training_file=file, validation_file=file.validation)
    job: Job = client.submit(spec, requester=requester(order), reuse=order.reuse, on_event=print)
    job = client.wait(job, timeout=order.timeout, on_event=print)
    version = client.register(
        job, name=order.name, alias=order.alias, registry=order.registry, checkpoint=order.checkpoint,
        gates=order.gates, spec=spec, data=[report], origin=requester(order),
    )  # fmt: skip
    return version.ref


if __name__ == "__main__":
    serve(run)
