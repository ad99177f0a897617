"""The steps after a job: measure its model, register it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect_tuneway import _notes, _registries, _runs
from prefect_tuneway._data import log_news
from prefect_tuneway._jobs import Output
from prefect_tuneway._steps import AtService, Here, Step
from prefect_tuneway.assets import tell_asset
from prefect_tuneway.credentials import Credentials, FineTuningCredentials, resolve
from tuneway._escape import one_line
from tuneway.choices import Choice, Scoring

if TYPE_CHECKING:
    from tuneway.registry import Evaluation, GateLike, ModelVersion

Score = Scoring | Callable[[str, str], float | bool]


def register(
    job: Output,
    *,
    name: str,
    credentials: Credentials,
    registry: str | None,
    alias: str | None,
    checkpoint: Choice,
    gates: Sequence[GateLike],
    reason: str | None,
    data: Mapping[str, Any] | None,
) -> Step[dict[str, Any]]:
    """The step `register_model`."""
    from tuneway.steps import version_summary

    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    run: _runs.Run = yield Here(_runs.current_run)
    where = registry or access.registry
    seen_here_alone = yield Here(lambda: _registries.worker_warning(run, where))
    version: ModelVersion = yield AtService(
        access.client_settings(),
        lambda client, _tell: client.register(
            job,
            name=name,
            registry=where,
            alias=alias,
            checkpoint=checkpoint,
            gates=gates,
            reason=reason,
            data=[data] if data else [],
            origin=run.requester(),
        ),
        log_news,
    )
    for warning in [seen_here_alone] * bool(seen_here_alone) + version.warnings:
        _runs.logger().warning("%s", one_line(warning, 1000))
    told = version_summary(version)
    tell_asset(version.record, told)
    yield Here(lambda: _notes.show_version(version))
    return told


def evaluate(
    model: Output, held_out: str, *, base: str, credentials: Credentials, score: Score, concurrency: int
) -> Step[dict[str, Any]]:
    """The step `evaluate_model`."""
    from tuneway.steps import model_id_of

    tuned = model_id_of(model)
    access: FineTuningCredentials = yield Here(lambda: resolve(credentials))
    evaluation: Evaluation = yield AtService(
        access.client_settings(),
        lambda client, tell: client.evaluate(
            held_out, base=base, tuned=tuned, score=score, concurrency=concurrency, on_event=tell
        ),
        log_news,
    )
    _runs.logger().info("%s", evaluation.verdict().why)
    return evaluation.model_dump(mode="json")
