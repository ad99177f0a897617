"""The runs that the sensor asks for: one for each model, until it is registered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dagster import AssetCheckKey, AssetKey, AssetRecordsFilter, DagsterRunStatus, RunRequest, RunsFilter

from dagster_tuneway._cursor import Unregistered
from dagster_tuneway._log import output_in
from dagster_tuneway._registering import JOB_TAG
from tuneway._escape import one_line

if TYPE_CHECKING:
    from dagster import DagsterRun, SensorEvaluationContext

    from dagster_tuneway._recipe import AssetRecipe

SUBMISSION_TAG = "tuneway/submission"
"""A tag of the runs that the sensor asks for: the entry of Dagster's log in which the job was submitted."""

MOST_ASKED = 4
PAUSES = (60.0, 300.0, 1800.0)
"""Seconds from a failed run to the next one."""

PAGE = 100
_WILL_RETRY = "dagster/will_retry"


class Asking:
    """Asks for the runs that register models, and asks again for those that failed.

    A submission is done with when its model is registered, or when a later one of the same partition is. After
    the last run has failed, or when a person has ended one, nobody is asked any more; a person can still materialize
    `registered_model`.
    """

    def __init__(self, context: SensorEvaluationContext) -> None:
        self._context = context
        self._instance = context.instance
        self.requests: list[RunRequest] = []
        self.failed: list[str] = []

    def look(self, recipe: AssetRecipe, left: Unregistered) -> bool:
        """Ask for the run, if it is to be asked for now; gives whether the submission is done with."""
        if not is_there(recipe, left.partition, self._context) or self._is_registered(recipe, left):
            return True
        run = self._last_run(left)
        if run is None:
            self.requests.append(_request(recipe, left))  # Dagster starts one run for each key
        elif run.status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
            self._ended(recipe, left, run)
        return False

    def _ended(self, recipe: AssetRecipe, left: Unregistered, run: DagsterRun) -> None:
        if run.status is DagsterRunStatus.FAILURE and run.tags.get(_WILL_RETRY) == "true":
            return
        by_person = run.status is DagsterRunStatus.CANCELED
        if left.failed_run != run.run_id:
            left.failed_run, left.failed_at = run.run_id, time.time()
            how = "was ended by a person" if by_person else "failed"
            self._context.log.warning("%s isn't registered: run %s %s", one_line(left.job_id), run.run_id, how)
        if by_person or left.asked == MOST_ASKED:
            place = f"{recipe.group} [{left.partition}]" if left.partition else recipe.group
            self.failed.append(f"{one_line(place)} ({one_line(left.job_id)}, run {run.run_id})")
        elif time.time() >= left.failed_at + PAUSES[left.asked - 1]:
            left.asked += 1
            self.requests.append(_request(recipe, left))

    def _last_run(self, left: Unregistered) -> DagsterRun | None:
        """The last run of the last request."""
        tags = {JOB_TAG: left.job_id, SUBMISSION_TAG: f"{left.event}/{left.asked}"}
        runs: Sequence[DagsterRun] = self._instance.get_runs(RunsFilter(tags=tags), limit=1)
        return runs[0] if runs else None

    def _is_registered(self, recipe: AssetRecipe, left: Unregistered) -> bool:
        """Whether this job's model is registered, or that of a job that was submitted later."""
        registered = set(self._jobs(recipe.keys.registered, left))
        if not registered or left.job_id in registered:
            return bool(registered)
        return not registered.isdisjoint(self._jobs(recipe.keys.job, left))

    def _jobs(self, key: AssetKey, left: Unregistered) -> Iterator[str]:
        """The jobs of an asset's materializations since the submission."""
        where = AssetRecordsFilter(
            asset_key=key,
            asset_partitions=None if left.partition is None else [left.partition],
            after_storage_id=left.event,
        )
        page = None
        while True:
            found = self._instance.fetch_materializations(where, limit=PAGE, cursor=page, ascending=True)
            for record in found.records:
                output = output_in(record)
                if output:
                    yield output["job_id"]
            if not found.has_more:
                return
            page = found.cursor


def is_there(recipe: AssetRecipe, partition: str | None, context: SensorEvaluationContext) -> bool:
    """Whether a run can be asked for: asking for a deleted partition would fail every tick from now on."""
    if recipe.partitions_def is None:
        return partition is None
    return partition in recipe.partitions_def.get_partition_keys(dynamic_partitions_store=context.instance)


def _request(recipe: AssetRecipe, left: Unregistered) -> RunRequest:
    again = f"/{left.asked}" if left.asked > 1 else ""
    return RunRequest(
        run_key=f"{left.job_id}/{left.event}{again}",
        asset_selection=[recipe.keys.registered],
        asset_check_keys=[AssetCheckKey(recipe.keys.registered, name) for name in recipe.check_names],
        partition_key=left.partition,
        tags={JOB_TAG: left.job_id, SUBMISSION_TAG: f"{left.event}/{left.asked}"},
    )
