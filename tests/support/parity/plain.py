"""The plain client, as `examples/plain` uses it: what all others are compared with."""

from __future__ import annotations

from support.parity.order import Order, Outcome, serve

from tuneway import Client, JobSpec
from tuneway.errors import TunewayError


def run(order: Order) -> Outcome:
    """Five calls, one after another."""
    try:
        with Client(base_url=order.base_url, settle=order.settle) as client:
            report = client.validate(order.train, validation_file=order.valid, model=order.model)
            report.raise_for_errors()
            train = client.upload(order.train)
            valid = client.upload(order.valid) if order.valid else None
            spec = JobSpec(**order.spec, training_file=train, validation_file=valid)
            key = f"{order.pipeline}/{order.run}"
            job = client.submit(spec, key=key, reuse=order.reuse, on_event=print)
            job = client.wait(job, timeout=order.timeout, on_event=print)
            version = client.register(
                job,
                name=order.name,
                alias=order.alias,
                registry=order.registry,
                checkpoint=order.checkpoint,
                gates=order.gates,
                spec=spec,
                data=[report],
            )
    except TunewayError as error:
        return Outcome(ended="failed", error=str(error), final=not error.retryable)
    return Outcome(ended="succeeded", ref=version.ref)


if __name__ == "__main__":
    serve(run)
