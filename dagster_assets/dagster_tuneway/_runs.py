"""What a run is to the core: who asks for a job, and whether a person has ended the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args

from dagster import DagsterRunStatus

from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext, AssetKey, DagsterInstance, DagsterRun

    from tuneway.registry import Origin

Reuse = Literal["run", "content", "never"]

REUSE_TAG = "tuneway/reuse"
"""A run with this tag reuses as it says, whatever the assets say: `run` trains anew, data changed or not."""

_AUTOMATIC = "dagster/retry_number"


def key_of(context: AssetExecutionContext, asset: AssetKey, reuse: Reuse) -> str:
    """Who asks, the same for each attempt of this asset and partition: retries and re-executions included.

    With `reuse="never"` a re-execution by a person asks anew; what Dagster itself retries doesn't.
    """
    run = context.run
    asker = _asked_by_person(context.instance, run) if reuse == "never" else run.root_run_id or run.run_id
    return "/".join(["dagster", asker, *asset.path, *_partition(context)])


def origin_of(context: AssetExecutionContext, asset: AssetKey) -> str:
    """The same in a person's words, kept on the job."""
    place = asset.to_user_string()
    partition = partition_of(context)
    return f"dagster: {place}{f' [{partition}]' if partition else ''} / run {context.run.run_id}"


def registry_origin(context: AssetExecutionContext, asset: AssetKey) -> Origin:
    """The same for the model registry."""
    from tuneway.registry import Origin

    return Origin(
        engine="dagster",
        pipeline=asset.to_user_string(),
        run=context.run.run_id,
        text=origin_of(context, asset),
    )


def partition_of(context: AssetExecutionContext | AssetCheckExecutionContext) -> str | None:
    """The partition that this step is about, if there are any."""
    if not context.has_partition_key_range and not context.has_partition_key:
        return None
    keys: Sequence[str] = context.partition_keys
    if len(keys) != 1:
        raise InvalidSpec(
            f"this run is about {len(keys)} partitions, and there is one model for each",
            field="partition_key",
            hint="Start a backfill, or a run for each partition.",
        )
    return keys[0]


def reuse_in(context: AssetExecutionContext, reuse: Reuse) -> Reuse:
    """What is reused: as the run's tag says, else as the asset says."""
    said = context.run.tags.get(REUSE_TAG, reuse)
    check_word(f"the run's tag {REUSE_TAG}", said, get_args(Reuse))
    return cast("Reuse", said)


def check_word(what: str, word: object, words: Sequence[str]) -> None:
    """Name a word that isn't one of these."""
    if word not in words:
        raise InvalidSpec(f"{what} can't be {word!r}: it is one of {', '.join(words)}", field=what)


def ended_by_person(context: AssetExecutionContext) -> bool:
    """Whether an interrupt means that somebody wants this run to end, and not only its process.

    A run worker is told to stop for many reasons. Whoever ends a run has it marked first. A run that was
    started in this very process has no such mark: there the interrupt is a person's Ctrl-C.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is None or run.remote_job_origin is None:
        return True
    return run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)


def _partition(context: AssetExecutionContext) -> list[str]:
    partition = partition_of(context)
    return [] if partition is None else [partition]


def _asked_by_person(instance: DagsterInstance, run: DagsterRun) -> str:
    """The run that this one is an automatic retry of; or itself."""
    while _AUTOMATIC in run.tags and run.parent_run_id:
        parent = instance.get_run_by_id(run.parent_run_id)
        if parent is None:
            return run.parent_run_id
        run = parent
    return run.run_id
