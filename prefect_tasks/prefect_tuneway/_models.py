"""The steps after a job: measure its model, register it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from prefect_tuneway import _notes, _runs
from prefect_tuneway._data import log_news
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.assets import tell_asset
from prefect_tuneway.credentials import FineTuningCredentials, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuneway.registry import Evaluation, GateLike, ModelVersion


def register_model(
    job: str | Mapping[str, Any],
    *,
    name: str,
    credentials: FineTuningCredentials | str | None = None,
    alias: str | None = None,
    registry: str | None = None,
    checkpoint: Literal["last", "best"] = "last",
    gates: Sequence[GateLike] = (),
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Step[dict[str, Any]]:
    """Register a succeeded job's model, once, with its lineage. The output is the version.

    The model becomes a Prefect asset that this task has materialised, with its data as upstream.

    Args:
        job: The output of the step that waited for it; or its id, which doesn't say what was asked for.
        name: The model's name, over all its versions.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
        alias: "champion", "challenger" or a word of your own, moved to this version if the gates agree.
        registry: Where to; else as the credentials say, else TUNEWAY_REGISTRY_URI.
        checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
        gates: What the version must show before the alias moves (`tuneway.registry`). A refusal fails the
            task for good; the version is registered all the same.
        reason: Why, for the history.
        data: The output of the step that checked the data: rows and tokens for the record.
    """
    from tuneway.steps import job_id_of, requested_in, version_summary

    job_id = job_id_of(job)
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    run: _runs.Run = yield Here(_runs.current_run)
    version: ModelVersion = yield AtService(
        access.client_settings(),
        lambda client, _tell: client.register(
            job_id,
            name=name,
            alias=alias,
            registry=registry or access.registry_url,
            checkpoint=checkpoint,
            gates=gates,
            requested=requested_in(job),
            data=[data] if data else (),
            origin=run.registry_origin,
            reason=reason,
        ),
        log_news,
    )
    for warning in version.warnings:
        _runs.logger().warning("%s", warning)
    told = version_summary(version)
    tell_asset(version.record, told)
    yield Here(lambda: _notes.show_version(version))
    return told


def evaluate_model(
    model: str | Mapping[str, Any],
    examples: str,
    *,
    base: str,
    credentials: FineTuningCredentials | str | None = None,
    score: Literal["exact", "contains"] | Callable[[str, str], float | bool] = "exact",
    parallel: int = 4,
) -> Step[dict[str, Any]]:
    """Ask the tuned model and its base the same questions. The output has both scores, and a few answers.

    Args:
        model: The tuned model's id, or the output of the step that waited for it or registered it.
        examples: A JSONL file of rows as one trains on; the last answer of each is the expected one.
        base: The model to compare with.
        credentials: The service: a block, the name of a stored one, or nothing, for what the environment says.
        score: "exact", "contains", or a function of answer and expected answer that gives 0 to 1.
        parallel: How many questions are asked at once.
    """
    from tuneway.steps import model_id_of

    tuned = model_id_of(model)
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))

    def ask_all() -> Evaluation:
        from tuneway.registry import evaluate

        with access.get_client() as client:
            return evaluate(examples, ask=client.ask, base=base, tuned=tuned, score=score, parallel=parallel)

    evaluation: Evaluation = yield Here(ask_all)
    _runs.logger().info("%s", evaluation.verdict().why)
    return evaluation.model_dump(mode="json")
