"""The step that costs money, and those that stop a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from prefect_tuneway import _notes, _runs, hooks
from prefect_tuneway._data import log_news
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.credentials import FineTuningCredentials, resolve

if TYPE_CHECKING:
    from tuneway import DPO, AsyncClient, JobSpec, Reinforcement, Supervised
    from tuneway.models import Job
    from tuneway.progress import Listener

Reuse = Literal["run", "content", "never"]


def create_fine_tuning_job(
    *,
    model: str,
    training_file: str | Mapping[str, Any],
    validation_file: str | Mapping[str, Any] | None = None,
    credentials: FineTuningCredentials | str | None = None,
    method: Supervised | DPO | Reinforcement | Mapping[str, Any] | None = None,
    suffix: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, str] | None = None,
    integrations: Sequence[Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    reuse: Reuse = "run",
) -> Step[dict[str, Any]]:
    """Have one job for this wish in this run: adopt the one that exists, else create it.

    The same wish (data, model, settings) in the same flow run is the same job, whatever is retried, run
    again or killed in between. For two jobs of one wish, give them different seeds or suffixes, or the
    task another name: `create_fine_tuning_job.with_options(name="second opinion")`.

    Args:
        model: The model to start from.
        training_file: The id of an uploaded file, or the output of the step that uploaded it.
        validation_file: Likewise; measured during training.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
        method: `Supervised(…)`, `DPO(…)`, `Reinforcement(…)`, or the same as JSON.
        suffix: A word in the new model's name.
        seed: The same seed and data give the same training, as far as the service can.
        metadata: Up to 13 pairs of your own.
        integrations: Up to five, Weights & Biases among them.
        hyperparameters: The old place for them; `method` is the new one.
        extra_body: Fields that only your service knows.
        reuse: "run": what this flow run has made is adopted, whatever is retried or run again. "content":
            whatever trains the same data in the same way, whoever made it. "never": each run of the flow
            makes a new job, and only retries of the task adopt.
    """
    spec = _spec(
        model=model,
        training_file=training_file,
        validation_file=validation_file,
        method=method,
        suffix=suffix,
        seed=seed,
        metadata=metadata,
        integrations=integrations,
        hyperparameters=hyperparameters,
        extra_body=extra_body,
    )
    job: Job = yield from submit(spec, credentials, reuse=reuse)
    from tuneway.steps import job_summary

    return job_summary(job, spec)


def submit(spec: JobSpec, credentials: FineTuningCredentials | str | None, *, reuse: Reuse) -> Step[Job]:
    """Have the one job for this, and leave word of it."""
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    run: _runs.Run = yield Here(_runs.current_run)
    yield Here(lambda: hooks.note_credentials(run, access))  # before there is a job that could need a cancel
    key = run.key(reuse=reuse)
    how: Reuse = "run" if reuse == "never" and key is not None else reuse  # the key is new where nothing is reused

    async def send(client: AsyncClient, tell: Listener) -> tuple[Job, str]:
        job = await client.submit(
            spec,
            key=key,
            reuse=how,
            origin=run.origin,
            keep_origin=True,  # a cancelled run's jobs are found by it
            on_event=tell,
        )
        return job, client.base_url

    job, base_url = yield AtService(access.client_settings(), send, log_news)
    yield Here(lambda: _notes.link_to(job, base_url))
    return job  # type: ignore[no-any-return]


def _spec(*, training_file: Any, validation_file: Any, **fields: Any) -> JobSpec:
    """What to train; what was left out stays out."""
    from tuneway import JobSpec
    from tuneway.steps import file_id_of

    given = {name: value for name, value in fields.items() if value is not None}
    given["training_file"] = file_id_of(training_file)
    if validation_file is not None:
        given["validation_file"] = file_id_of(validation_file)
    return JobSpec(**given)


def cancel_fine_tuning_job(
    job: str | Mapping[str, Any], *, credentials: FineTuningCredentials | str | None = None
) -> Step[dict[str, Any]]:
    """Stop a job for good. One that has ended is left as it is; the output says its status.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
    """
    return (yield from _control("cancel", job, credentials))


def pause_fine_tuning_job(
    job: str | Mapping[str, Any], *, credentials: FineTuningCredentials | str | None = None
) -> Step[dict[str, Any]]:
    """Stop a job for now; the output says its status.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
    """
    return (yield from _control("pause", job, credentials))


def resume_fine_tuning_job(
    job: str | Mapping[str, Any], *, credentials: FineTuningCredentials | str | None = None
) -> Step[dict[str, Any]]:
    """Let a paused job go on; the output says its status.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
    """
    return (yield from _control("resume", job, credentials))


def _control(
    verb: str, job: str | Mapping[str, Any], credentials: FineTuningCredentials | str | None
) -> Step[dict[str, Any]]:
    from tuneway.steps import job_id_of, job_summary

    job_id = job_id_of(job)
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    after = yield AtService(access.client_settings(), lambda client, _tell: getattr(client, verb)(job_id), log_news)
    return job_summary(after, job)
