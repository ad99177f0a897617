"""One tick of the sensor: read what was submitted, look at all open jobs, report those that have ended.

Dagster stores what a tick reports, and then the cursor. A daemon that dies in between evaluates the tick again
from the old cursor. So a tick looks up in Dagster's log what was reported before: each submission is reported
once, whenever the daemon dies, and even when the cursor is lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetMaterialization,
    AssetRecordsFilter,
    MetadataValue,
    SensorEvaluationContext,
    SensorResult,
)

from dagster_tuneway._asking import Asking, is_there
from dagster_tuneway._checks import TRAINED
from dagster_tuneway._cursor import SETTLED, Cursor, Unregistered, WatchedJob
from dagster_tuneway._keys import made_as
from dagster_tuneway._log import output_in, output_metadata
from dagster_tuneway._metadata import in_words, job_link, model_metadata
from dagster_tuneway._training import model_version
from tuneway import Job, Retry, TunewayError, WaitToken
from tuneway._escape import one_line
from tuneway.errors import JobError, NotFound
from tuneway.models import Phase
from tuneway.steps import job_summary

if TYPE_CHECKING:
    from dagster_tuneway._recipe import AssetRecipe
    from dagster_tuneway.resource import FineTuningResource
    from tuneway import Client

PAGE = 100
MOST_NEW = 2000
NAMING_LOOKS = 3
TOLERANCE = 8
REQUEST_SECONDS = 10.0
SUBMISSION = "submission"
"""The name of the metadata entry that says which submission a report is about."""

Event = AssetMaterialization | AssetCheckEvaluation


def in_graph(context: SensorEvaluationContext, recipes: Sequence[AssetRecipe]) -> list[AssetRecipe]:
    """The groups with the keys that their assets have in these definitions."""
    if context.repository_def is None:
        return list(recipes)
    graph = context.repository_def.asset_graph
    return [
        recipe.with_keys(recipe.keys.now(graph, [registered]))
        for recipe in recipes
        for registered in made_as(graph, recipe.keys.registered)
    ]


class Tick:
    """One tick.

    Args:
        context: Dagster's.
        recipes: The groups whose jobs are watched.
        tuneway: The account.
        time_limit: Seconds; what isn't done by then is left to the next tick.
    """

    def __init__(
        self,
        context: SensorEvaluationContext,
        recipes: Sequence[AssetRecipe],
        tuneway: FineTuningResource,
        time_limit: float,
    ) -> None:
        self._context = context
        self._instance = context.instance
        self._recipes = {recipe.keys.job.to_user_string(): recipe for recipe in recipes}
        self._tuneway = tuneway
        self._ends = time.monotonic() + time_limit
        self._cursor = Cursor.load(context.cursor)
        self._checked: dict[AssetCheckKey, set[int]] = {}
        self._events: list[Event] = []
        self._asking = Asking(context)

    def run(self) -> SensorResult:
        """Evaluate the tick."""
        for asset in self._recipes:
            self._read(asset)
        watched = [one for one in self._cursor.open if one.asset in self._recipes]
        left = [one for one in self._cursor.open if one.asset not in self._recipes]  # may be back after a deployment
        if watched:
            retry = Retry(attempts=2, patience=self._left() / 4)
            timeout = min(self._tuneway.timeout, REQUEST_SECONDS)
            with self._tuneway.new_client(timeout=timeout, retry=retry) as client:
                left += self._look(client, watched)
        self._cursor.open = left
        self._cursor.unregistered = [one for one in self._cursor.unregistered if not self._is_done_with(one)]
        requests = self._asking.requests
        skip = None if self._events or requests else self._what_is_left()
        return SensorResult(
            asset_events=self._events, run_requests=requests, cursor=self._cursor.dump(), skip_reason=skip
        )

    def _is_done_with(self, one: Unregistered) -> bool:
        """Whether a model is registered; if not, its run is asked for. A group that is away may come back."""
        recipe = self._recipes.get(one.asset)
        return recipe is not None and self._asking.look(recipe, one)

    def _what_is_left(self) -> str:
        open_, waiting, failed = len(self._cursor.open), len(self._cursor.unregistered), self._asking.failed
        told = f"{open_ or 'no'} {'jobs are' if open_ > 1 else 'job is'} open"
        if waiting:
            told += f"; {waiting} {'models are' if waiting > 1 else 'model is'} not registered yet"
        if failed:
            told += f", and nobody is asked any more for {', '.join(failed[:10])}: materialize registered_model"
        return told

    def _left(self) -> float:
        return max(0.0, self._ends - time.monotonic())

    # --- what was submitted

    def _read(self, asset: str) -> None:
        """Watch the submissions that this sensor doesn't know yet."""
        cursor, known = self._cursor, set(self._cursor.known.get(asset, []))
        young: list[int] = []
        after, moment = cursor.after.get(asset, 0), time.time()
        for record in self._records(asset, after):
            if record.timestamp > moment - SETTLED or young:
                young.append(record.storage_id)
            else:
                cursor.after[asset] = record.storage_id
            if record.storage_id not in known:
                self._take_up(asset, record)
        cursor.known[asset] = young

    def _records(self, asset: str, after: int) -> Iterator[Any]:
        key, page, read = self._recipes[asset].keys.job, None, 0
        where = AssetRecordsFilter(asset_key=key, after_storage_id=after)
        while read < MOST_NEW:
            found = self._instance.fetch_materializations(where, limit=PAGE, cursor=page, ascending=True)
            yield from found.records
            read, page = read + len(found.records), found.cursor
            if not found.has_more:
                return

    def _take_up(self, asset: str, record: Any) -> None:
        wait = (output_in(record) or {}).get("wait")
        if wait is None or any(one.event == record.storage_id for one in self._cursor.open):
            return  # its step has waited for it
        submission = WatchedJob(
            asset=asset,
            partition=record.partition_key,
            event=record.storage_id,
            run=record.run_id,
            token=WaitToken.model_validate(wait),
        )
        self._cursor.open.append(submission)

    # --- what became of it

    def _look(self, client: Client, watched: list[WatchedJob]) -> list[WatchedJob]:
        """Look at all of them at once; gives those that stay open, first those that weren't seen."""
        seen = client.look([one.token for one in watched], timeout=self._left() / 2)
        errors = [sight for sight in seen if isinstance(sight, TunewayError) and not isinstance(sight, JobError)]
        if len(errors) == len(seen) and not any(isinstance(error, NotFound) for error in errors):
            raise errors[0]  # people see a failed tick, and nothing is lost by it
        unseen: list[WatchedJob] = []
        alive: list[WatchedJob] = []
        for submission, sight in zip(watched, seen, strict=True):
            if not self._left():
                unseen.append(submission)
            elif not self._is_settled(client, submission, sight):
                (alive if isinstance(sight, Job) else unseen).append(submission)
        return unseen + alive

    def _is_settled(self, client: Client, submission: WatchedJob, sight: Job | TunewayError) -> bool:
        """Report a job that has ended. Trouble with one job is left to the next tick, and stops no other."""
        try:
            return self._ended(client, submission, sight)
        except TunewayError as error:
            self._context.log.warning("%s: %s", one_line(submission.token.job_id), error)
            return False

    def _ended(self, client: Client, submission: WatchedJob, sight: Job | TunewayError) -> bool:
        """Report a job if it has ended, and say whether it has."""
        if isinstance(sight, Job):
            submission.failures = 0
            if sight.phase is not Phase.SUCCEEDED:
                return False
            submission.nameless += 1
            if not sight.fine_tuned_model and submission.nameless < NAMING_LOOKS:
                return False  # some services name the model a little later
            self._succeeded(client, submission, sight)
            return True
        if not isinstance(sight, JobError):
            submission.failures += 1
            self._context.log.warning("%s: %s", one_line(submission.token.job_id), sight)
            if not (isinstance(sight, NotFound) and submission.failures >= TOLERANCE):
                return False
        self._failed(submission, sight)
        return True

    def _succeeded(self, client: Client, submission: WatchedJob, job: Job) -> None:
        recipe = self._recipes[submission.asset]
        if not self._is_materialized(submission):
            outcome = client.outcome(job, log=True, forgiving=True)
            output = job_summary(job, self._submitted(submission)) | {SUBMISSION: submission.event}
            self._events.append(
                AssetMaterialization(
                    recipe.keys.model,
                    description=in_words(outcome),
                    metadata=model_metadata(outcome, self._tuneway, self._instance)
                    | {"submitted_by": MetadataValue.dagster_run(submission.run)}
                    | output_metadata(output),
                    partition=submission.partition,
                    tags={"dagster/data_version": model_version(job)},
                )
            )
        self._check(submission, passed=True, why=f"{job.id} has made {job.fine_tuned_model}")
        if recipe.asks_for_registering and is_there(recipe, submission.partition, self._context):
            one = Unregistered(
                asset=submission.asset, partition=submission.partition, event=submission.event, job_id=job.id
            )
            if all(other.event != one.event for other in self._cursor.unregistered):
                self._cursor.unregistered.append(one)

    def _submitted(self, submission: WatchedJob) -> dict[str, Any] | None:
        """The output of the step that submitted."""
        key = self._recipes[submission.asset].keys.job
        where = AssetRecordsFilter(asset_key=key, storage_ids=[submission.event])
        records = self._instance.fetch_materializations(where, limit=1).records
        return output_in(records[0]) if records else None

    def _failed(self, submission: WatchedJob, error: TunewayError) -> None:
        self._context.log.error(str(error))
        self._check(submission, passed=False, why=str(error), code=error.code)

    def _check(self, submission: WatchedJob, *, passed: bool, why: str, code: str | None = None) -> None:
        if self._is_checked(submission):
            return
        facts: dict[str, Any] = {
            "job": job_link(submission.token.job_id, self._tuneway.client.base_url),
            "submitted_by": MetadataValue.dagster_run(submission.run),
            SUBMISSION: submission.event,
        }
        facts |= {name: value for name, value in (("partition", submission.partition), ("code", code)) if value}
        key = self._recipes[submission.asset].keys.model
        self._events.append(
            AssetCheckEvaluation(asset_key=key, check_name=TRAINED, passed=passed, description=why, metadata=facts)
        )

    # --- what was reported before

    def _is_materialized(self, submission: WatchedJob) -> bool:
        key, partition = self._recipes[submission.asset].keys.model, submission.partition
        where = AssetRecordsFilter(
            asset_key=key,
            asset_partitions=None if partition is None else [partition],
            after_storage_id=submission.event,
        )
        page = None
        while True:
            found = self._instance.fetch_materializations(where, limit=PAGE, cursor=page, ascending=True)
            if any((output_in(record) or {}).get(SUBMISSION) == submission.event for record in found.records):
                return True
            if not found.has_more:
                return False
            page = found.cursor

    def _is_checked(self, submission: WatchedJob) -> bool:
        key = AssetCheckKey(self._recipes[submission.asset].keys.model, TRAINED)
        if key not in self._checked:
            history = self._instance.event_log_storage.get_asset_check_execution_history(key, limit=MOST_NEW)
            self._checked[key] = {about for record in history if (about := _about(record)) is not None}
        return submission.event in self._checked[key]


def _about(record: Any) -> Any:
    """Which submission a check's evaluation is about; None for one that somebody ran."""
    event = record.event.dagster_event if record.event else None
    evaluation = event.event_specific_data if event else None
    told = getattr(evaluation, "metadata", {}).get(SUBMISSION)
    return told.value if told is not None else None
