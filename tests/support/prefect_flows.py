"""Flows that a real Prefect runs in tests; copied into its folder, so it imports nothing of the tests."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.concurrency.sync import concurrency
from prefect.deployments import run_deployment

from prefect_tuneway import (
    cancel_jobs,
    create_fine_tuning_job,
    fine_tune,
    register_model,
    suspend_until_ended,
    upload_training_file,
    wait_for_fine_tuning_job,
)

MODEL = "gpt-4o-mini"


@flow(on_cancellation=[cancel_jobs], log_prints=True)
def nightly(path: str, name: str = "nightly") -> dict:
    """The four steps."""
    file = upload_training_file(path)
    job = create_fine_tuning_job(model=MODEL, training_file=file)
    done = wait_for_fine_tuning_job(job)
    return register_model(done, name=name)


@flow
def outer(path: str) -> dict:
    """The whole flow within another flow that has no hook of its own."""
    return fine_tune(training_data=path, model=MODEL, name="inner")


@flow(on_cancellation=[cancel_jobs])
def without_a_worker(path: str, name: str = "patient") -> dict:
    """The four steps; nothing runs while the job does."""
    file = upload_training_file(path)
    job = create_fine_tuning_job(model=MODEL, training_file=file)
    done = suspend_until_ended(job)
    return register_model(done, name=name)


@flow(on_cancellation=[cancel_jobs])
def begin(path: str, name: str) -> None:
    """Upload and create, where the data is; another worker goes on."""
    file = upload_training_file(path)
    job = create_fine_tuning_job(model=MODEL, training_file=file)
    run_deployment("finish/finish", parameters={"job": job, "name": name}, timeout=0)


@flow
def finish(job: dict, name: str, registry: str | None = None) -> dict:
    """Wait and register, wherever."""
    done = wait_for_fine_tuning_job(job)
    return register_model(done, name=name, registry=registry)


@flow
def use(ref: str, model_id: str) -> str:
    """Use a model that was registered."""
    return f"{ref} is {model_id}"


@flow
def limited(path: str, suspended: bool = False) -> dict:
    """Create and wait, one run at a time."""
    file = upload_training_file(path)
    get_run_logger().info("asks for a slot")
    with concurrency("trainings", occupy=1, strict=True):
        job = create_fine_tuning_job(model=MODEL, training_file=file)
        return (suspend_until_ended if suspended else wait_for_fine_tuning_job)(job)
