"""The steps of a fine-tuning as tasks: the output of each is the input of the next, as it is.

    @flow(on_cancellation=[cancel_jobs])
    def nightly():
        file = upload_training_file("train.jsonl", validation_data="valid.jsonl")
        job = create_fine_tuning_job(model="gpt-4o-mini", training_file=file)
        done = wait_for_fine_tuning_job(job)
        return register_model(done, name="support-router")

Each has a second form to be awaited, whose name begins with `a`. `.submit()`, `.map()` and `.with_options()`
work on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from prefect_tuneway import _data, _jobs, _models, _wait
from prefect_tuneway._jobs import Output
from prefect_tuneway._signature import spell_out
from prefect_tuneway._steps import awaited, blocking, result_of, worth_retrying
from prefect_tuneway.credentials import Credentials
from tuneway.choices import Choice, Order, Reuse
from tuneway.models import TrainingFields

if TYPE_CHECKING:
    from datetime import timedelta

    from prefect_tuneway._models import Score
    from tuneway import DatasetReport
    from tuneway.recipe import Data
    from tuneway.registry import GateLike
    from tuneway.report import Place


@blocking(retries=0)
def validate_training_data(
    training_data: Data | None = None,
    *,
    validation_data: Data | float | None = None,
    row: Mapping[str, str] | None = None,
    order: Order = "given",
    model: str | None = None,
    data_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check data on this side, before anything is paid for. No service is asked.

    Training and validation data are checked as a pair: rows that are in both are errors. Errors fail the task at
    once and name their lines. The output says what is in the data: rows, tokens, what the training would cost.

    Args:
        training_data: The path or URL of JSONL, Parquet, Arrow or CSV; rows; or a frame, such as a task's result.
        validation_data: Likewise; measured during training. A number such as 0.1 is the share of the training data
            that is split off for it.
        row: How each row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows is the same file.
        model: The model to train, for its limits and its price.
        data_options: Further arguments of `tuneway.dataset.validate`, such as `prices`.
    """
    return result_of(
        _data.validate(
            training_data,
            validation_data=validation_data,
            row=row,
            order=order,
            model=model,
            data_options=data_options,
        )
    )


@blocking()
def upload_training_file(
    training_data: Data | None = None,
    *,
    validation_data: Data | float | None = None,
    row: Mapping[str, str] | None = None,
    order: Order = "given",
    credentials: Credentials = None,
    report: DatasetReport | None = None,
    validate: bool = True,
    purpose: str = "fine-tune",
    expires_after: int | None = None,
    data_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Upload data: checked, hashed, streamed, and never sent twice. The output has its id, rows and tokens.

    Training and validation data that are given together are checked as a pair: rows that are in both are errors.
    Files that are uploaded separately are not compared. `create_fine_tuning_job` finds both in the output.

    Args:
        training_data: The path or URL of JSONL, Parquet, Arrow or CSV; rows; or a frame, such as a task's result.
        validation_data: Likewise, or the share of the training data that is split off: 0.1. One of the two is needed.
        row: How each row is made of columns: `{"user": "{question}", "assistant": "{answer}"}`.
        order: "content" sorts the rows by their hash, so that the same set of rows is the same file.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        report: What `Client.check` or `Client.validate` found in these very files. They aren't checked again, and a
            file that was written since is refused.
        validate: Whether to check them; errors fail the task before anything is sent.
        purpose: What they are for; it is sent to the service.
        expires_after: Seconds after which the service deletes them.
        data_options: Further arguments of `tuneway.dataset.validate`.
    """
    return result_of(
        _data.upload(
            training_data,
            validation_data=validation_data,
            row=row,
            order=order,
            credentials=credentials,
            report=report,
            validate=validate,
            purpose=purpose,
            expires_after=expires_after,
            data_options=data_options,
        )
    )


@blocking()
@spell_out(TrainingFields)
def create_fine_tuning_job(
    *,
    training_file: Output,
    validation_file: Output | None = None,
    credentials: Credentials = None,
    key: str | None = None,
    reuse: Reuse = "run",
    max_usd: float | None = None,
    **training: Unpack[TrainingFields],
) -> dict[str, Any]:
    """Create one job for this training in this flow run, or adopt the one that exists.

    The same training (data, model, settings) in the same flow run is the same job, whatever is retried, run again
    or killed in between. Give each a `key` of its own if you want several.

    Args:
        training_file: The id of an uploaded file, or the output of the step that uploaded it.
        validation_file: The same of the validation file; else the one that was uploaded with the training file.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        key: A word of your own, for several jobs of the same content in one flow run.
        reuse: Which existing jobs are adopted. "run": those that this flow run made. "content": any that trains the
            same data in the same way, whoever made it. "never": none; only a retry of this task run adopts its job.
        max_usd: A budget, held against the service's own price before a job is created. It is refused where the service
            gives no price; `fine_tune` and the block estimate the cost there.
        metadata: Up to 13 pairs of your own; three of the 16 are the marks by which a retry and a cancel find the job.
        training: The fields of `tuneway.models.TrainingFields`: how to train.
    """
    return result_of(
        _jobs.create(
            training_file,
            validation_file,
            credentials=credentials,
            key=key,
            reuse=reuse,
            training=training,
            max_usd=max_usd,
        )
    )


@blocking()
def wait_for_fine_tuning_job(
    job: Output,
    *,
    credentials: Credentials = None,
    timeout: float | timedelta | None = None,
    cancel_on_timeout: bool = False,
    report_to: Place | None = None,
) -> dict[str, Any]:
    """Wait until a job has succeeded. The output says what came of it: the model's name, trained tokens.

    All waits of a process on the same account share one poll. The job's log is written into the task's log, its
    progress is a progress artifact, and its metrics, checkpoints and curve are artifacts when it has ended.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        timeout: Seconds (or a timedelta) from the task's start, over all its retries.
        cancel_on_timeout: Whether to cancel the job when the time is up, if this flow run made it; else it goes on.
        report_to: Where the report of the training is written, if at all: a path, a URL of an object store such as
            `s3://reports/{job_id}.html`, or a `UPath` with credentials. One that can't be written is logged.
    """
    return result_of(
        _wait.wait(
            job,
            credentials=credentials,
            timeout=timeout,
            cancel_on_timeout=cancel_on_timeout,
            report_to=report_to,
        )
    )


@blocking()
def cancel_fine_tuning_job(job: Output, *, credentials: Credentials = None) -> dict[str, Any]:
    """Cancel a job; it can't be resumed. One that has ended is left as it is; the output has its status.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
    """
    return result_of(_jobs.control("cancel", job, credentials))


@blocking()
def pause_fine_tuning_job(job: Output, *, credentials: Credentials = None) -> dict[str, Any]:
    """Pause a job; the output has its status.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
    """
    return result_of(_jobs.control("pause", job, credentials))


@blocking()
def resume_fine_tuning_job(job: Output, *, credentials: Credentials = None) -> dict[str, Any]:
    """Resume a paused job; the output has its status.

    Args:
        job: The job's id, or the output of a step that has one.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
    """
    return result_of(_jobs.control("resume", job, credentials))


@blocking()
def register_model(
    job: Output,
    *,
    name: str,
    credentials: Credentials = None,
    registry: str | None = None,
    alias: str | None = None,
    checkpoint: Choice = "last",
    gates: Sequence[GateLike] = (),
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Register a succeeded job's model, once, with its lineage. The output is the version.

    The model becomes a Prefect asset that this task has materialised, with its data as upstream.

    Args:
        job: The output of the step that waited for it; or its id, which doesn't show what was asked for.
        name: The model's name, over all its versions.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        registry: `sqlite:///models.db`, `mlflow:https://…`; else that of the credentials, else TUNEWAY_REGISTRY_URI.
        alias: "champion", "challenger" or a word of your own, moved to this version if the gates agree.
        checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
        gates: What the version must show before the alias moves (`tuneway.registry`). A refusal fails the
            task without a retry; the version is registered all the same.
        reason: The reason, for the model's history.
        data: The output of the step that checked the data, where that of the upload step isn't known.
    """
    return result_of(
        _models.register(
            job,
            name=name,
            credentials=credentials,
            registry=registry,
            alias=alias,
            checkpoint=checkpoint,
            gates=gates,
            reason=reason,
            data=data,
        )
    )


@blocking()
def evaluate_model(
    model: Output,
    held_out: str,
    *,
    base: str,
    credentials: Credentials = None,
    score: Score = "exact",
    concurrency: int = 8,
) -> dict[str, Any]:
    """Ask the tuned model and its base the same questions. The output has both scores, and a few answers.

    Args:
        model: The tuned model's id, or the output of the step that waited for it or registered it.
        held_out: The path of a JSONL file with rows as for training that weren't trained on. The last answer of each
            is the expected one.
        base: The model to compare with.
        credentials: The service: a block, the name of a stored one, or None for what the environment says.
        score: "exact", "contains", or a function of answer and expected answer that gives 0 to 1.
        concurrency: The number of answers that are waited for at once.
    """
    return result_of(
        _models.evaluate(model, held_out, base=base, credentials=credentials, score=score, concurrency=concurrency)
    )


avalidate_training_data = awaited(validate_training_data)
aupload_training_file = awaited(upload_training_file)
acreate_fine_tuning_job = awaited(create_fine_tuning_job)
await_for_fine_tuning_job = awaited(wait_for_fine_tuning_job)
acancel_fine_tuning_job = awaited(cancel_fine_tuning_job)
apause_fine_tuning_job = awaited(pause_fine_tuning_job)
aresume_fine_tuning_job = awaited(resume_fine_tuning_job)
aregister_model = awaited(register_model)
aevaluate_model = awaited(evaluate_model)

__all__ = [
    "acancel_fine_tuning_job",
    "acreate_fine_tuning_job",
    "aevaluate_model",
    "apause_fine_tuning_job",
    "aregister_model",
    "aresume_fine_tuning_job",
    "aupload_training_file",
    "avalidate_training_data",
    "await_for_fine_tuning_job",
    "cancel_fine_tuning_job",
    "create_fine_tuning_job",
    "evaluate_model",
    "pause_fine_tuning_job",
    "register_model",
    "resume_fine_tuning_job",
    "upload_training_file",
    "validate_training_data",
    "wait_for_fine_tuning_job",
    "worth_retrying",
]
