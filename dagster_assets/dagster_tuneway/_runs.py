"""What a run means to the core: who asks for a job, whose job it is, and whether a person has ended the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, RunsFilter

from tuneway.choices import Reuse, check_word
from tuneway.errors import InvalidSpec
from tuneway.requester import Requester

if TYPE_CHECKING:
    from dagster import AssetCheckExecutionContext, AssetExecutionContext, AssetKey, DagsterInstance, DagsterRun

    from tuneway import Job

REUSE_TAG = "tuneway/reuse"
"""A run's tag that overrides `reuse` of the assets: with `run` it trains again, whether or not the data changed."""

_AUTOMATIC = "dagster/retry_number"
_ROOT = "dagster/root_run_id"


def requester_of(context: AssetExecutionContext, asset: AssetKey, *, keep_origin: bool = False) -> Requester:
    """Who asks for this asset's job: the same for retries of the step and for re-executions of the run.

    The partition is no part of it. It is in the model's suffix, and so in the job's content.
    """
    run = context.run
    requester = Requester(
        engine="dagster",
        pipeline=asset.to_user_string(),
        run=_root(run),
        occasion=_asked_by_person(context.instance, run),
        keep_origin=keep_origin,
    )
    return _marked(requester, context, run.run_id)


def is_own(context: AssetExecutionContext, job: Job, requester: Requester) -> bool:
    """Whether this run has made the job, or another run of the same root: one that it retries or executes again.

    A job that was adopted by its content carries the origin mark of the run that made it.
    """
    from tuneway.flows import made_by

    root = _root(context.run)
    others = context.instance.get_runs(RunsFilter(tags={_ROOT: root}))
    runs = [context.run.run_id, root, *(run.run_id for run in others)]
    return any(made_by(job, _marked(requester, context, run_id)) for run_id in runs)


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
    """Which existing jobs will do: as the run's tag says, else as the asset says."""
    tagged = context.run.tags.get(REUSE_TAG, reuse)
    word: Reuse = check_word(tagged, Reuse, field=f"the run's tag {REUSE_TAG}")
    return word


def ended_by_person(context: AssetExecutionContext) -> bool:
    """Whether an interrupt means that a person has ended the run, and not only that its process has to stop.

    A run worker is told to stop for many reasons. When a person terminates a run, Dagster marks the run first. A
    run that was started in this very process has no such mark: there the interrupt is a person's Ctrl-C.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is None or run.remote_job_origin is None:
        return True
    return run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)


def _marked(requester: Requester, context: AssetExecutionContext, run_id: str) -> Requester:
    """The same requester with an origin mark that names one of its runs, so that people find that run."""
    partition = partition_of(context)
    pipeline = f"{requester.pipeline} [{partition}]" if partition else requester.pipeline
    shown = replace(requester, pipeline=pipeline, run=f"run {run_id}", mark=None)
    return replace(requester, mark=shown.origin)


def _root(run: DagsterRun) -> str:
    return run.root_run_id or run.run_id


def _asked_by_person(instance: DagsterInstance, run: DagsterRun) -> str:
    """The run that a person asked for: this one, or the one that it is an automatic retry of."""
    while _AUTOMATIC in run.tags and run.parent_run_id:
        parent = instance.get_run_by_id(run.parent_run_id)
        if parent is None:
            return run.parent_run_id
        run = parent
    return run.run_id
