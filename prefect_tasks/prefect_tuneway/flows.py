"""All steps in one flow."""

from __future__ import annotations

import functools
from typing import Any, Literal

from prefect import flow

from prefect_tuneway import tasks
from prefect_tuneway.credentials import FineTuningCredentials
from prefect_tuneway.hooks import cancel_jobs

Credentials = FineTuningCredentials | str | None


@flow(name="fine_tune", on_cancellation=[cancel_jobs])
def fine_tune(
    path: str,
    *,
    model: str,
    name: str | None = None,
    validation_path: str | None = None,
    credentials: Credentials = None,
    method: dict[str, Any] | None = None,
    suffix: str | None = None,
    seed: int | None = None,
    metadata: dict[str, str] | None = None,
    reuse: Literal["run", "content", "never"] = "run",
    timeout: float | None = None,
    alias: str | None = None,
    registry: str | None = None,
    checkpoint: Literal["last", "best"] = "last",
) -> dict[str, Any]:
    """Check, upload, create, wait and register. The output is the version; without a `name`, the job.

    A run that is cancelled cancels its job; one that is killed, tried again or run again adopts it.

    Args:
        path: The training data.
        model: The model to start from.
        name: What to register the model as; left out, it isn't registered.
        validation_path: The data to measure on.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
        method: As JSON: `{"type": "supervised", "n_epochs": 3}`.
        suffix: A word in the new model's name.
        seed: The same seed and data give the same training, as far as the service can.
        metadata: Up to 13 pairs of your own.
        reuse: See `create_fine_tuning_job`.
        timeout: Seconds to wait for the job.
        alias: An alias to move to the version.
        registry: Where to register.
        checkpoint: "last" or "best".
    """
    data = tasks.validate_training_data(path, model=model, validation_file=validation_path)
    upload = functools.partial(tasks.upload_training_file, credentials=credentials, validate=False)
    file, validation = upload(path), upload(validation_path) if validation_path else None
    job = tasks.create_fine_tuning_job(
        model=model, training_file=file, validation_file=validation, credentials=credentials, method=method,
        suffix=suffix, seed=seed, metadata=metadata, reuse=reuse,
    )  # fmt: skip
    done = tasks.wait_for_fine_tuning_job(job, credentials=credentials, timeout=timeout)
    if name is None:
        return done
    return tasks.register_model(
        done, name=name, credentials=credentials, alias=alias, registry=registry, checkpoint=checkpoint,
        data=data,
    )  # fmt: skip


@flow(name="fine_tune", on_cancellation=[cancel_jobs])
async def afine_tune(
    path: str,
    *,
    model: str,
    name: str | None = None,
    validation_path: str | None = None,
    credentials: Credentials = None,
    method: dict[str, Any] | None = None,
    suffix: str | None = None,
    seed: int | None = None,
    metadata: dict[str, str] | None = None,
    reuse: Literal["run", "content", "never"] = "run",
    timeout: float | None = None,  # noqa: ASYNC109 - of the service's work, not of this call
    alias: str | None = None,
    registry: str | None = None,
    checkpoint: Literal["last", "best"] = "last",
) -> dict[str, Any]:
    """`fine_tune`, to be awaited."""
    data = await tasks.avalidate_training_data(path, model=model, validation_file=validation_path)
    upload = functools.partial(tasks.aupload_training_file, credentials=credentials, validate=False)
    file, validation = await upload(path), await upload(validation_path) if validation_path else None
    job = await tasks.acreate_fine_tuning_job(
        model=model, training_file=file, validation_file=validation, credentials=credentials, method=method,
        suffix=suffix, seed=seed, metadata=metadata, reuse=reuse,
    )  # fmt: skip
    done = await tasks.await_for_fine_tuning_job(job, credentials=credentials, timeout=timeout)
    if name is None:
        return done
    return await tasks.aregister_model(
        done, name=name, credentials=credentials, alias=alias, registry=registry, checkpoint=checkpoint,
        data=data,
    )  # fmt: skip
