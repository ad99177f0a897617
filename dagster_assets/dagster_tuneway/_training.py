"""The second step: have one job, and wait for its model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    DagsterExecutionInterruptedError,
    DataVersion,
    MaterializeResult,
)

from dagster_tuneway._log import Teller, output_metadata, output_of, required_output, told_to_dagster
from dagster_tuneway._metadata import job_link, known, model_metadata
from dagster_tuneway._recipe import AssetRecipe
from dagster_tuneway._runs import Reuse, ended_by_person, key_of, origin_of, partition_of, reuse_in
from dagster_tuneway.resource import FineTuningResource
from tuneway import Job, JobSpec, Retry, WaitToken
from tuneway.errors import JobError, TunewayError
from tuneway.flows import CONTENT, ORIGIN, deadline_after
from tuneway.progress import JobAdopted, News
from tuneway.report import gather
from tuneway.steps import job_summary


def train(context: AssetExecutionContext, recipe: AssetRecipe) -> Iterator[MaterializeResult[Any]]:
    """Submit and wait, as far as both are selected."""
    keys, tuneway, partition = recipe.keys, recipe.resource(context), partition_of(context)
    with told_to_dagster(tuneway):
        attempt = Attempt(context, recipe, tuneway)
        if keys.job in context.selected_asset_keys:
            attempt.submit(required_output(context.instance, keys.training_file, partition))
            yield attempt.submitted()
        else:
            attempt.take(required_output(context.instance, keys.job, partition))
        if keys.model in context.selected_asset_keys:
            attempt.wait()
            yield attempt.trained()


class Attempt:
    """One attempt of one step to have a model trained."""

    def __init__(self, context: AssetExecutionContext, recipe: AssetRecipe, tuneway: FineTuningResource) -> None:
        self._context = context
        self._recipe = recipe
        self._tuneway = tuneway
        self._teller = Teller(context.log)
        self._origin = origin_of(context, recipe.keys.job)
        self._adopted = False
        self._sha256: str | None = None
        self._job: Job | None = None
        self._asked: JobSpec | Mapping[str, Any] | None = None

    @property
    def job(self) -> Job:
        """The job, once there is one."""
        assert self._job is not None
        return self._job

    @property
    def handed_on(self) -> dict[str, Any]:
        """What the steps after this one are told of the job."""
        return job_summary(self.job, self._asked)

    def submit(self, data: Mapping[str, Any]) -> None:
        """Have the one job for this data, which was uploaded."""
        recipe, context, reuse = self._recipe, self._context, self._reuse
        self._sha256 = data["sha256"]
        spec = recipe.spec(data["file_id"], data.get("validation_file_id"), partition_of(context))
        self._asked = spec
        with self._cancelling():
            self._job = self._tuneway.client.submit(
                spec,
                key=key_of(context, recipe.keys.job, reuse),
                # each run has a key of its own where nothing is to be reused; a key's own job is adopted
                reuse="content" if reuse == "content" else "run",
                origin=self._origin,
                keep_origin=recipe.cancel_on_termination,
                on_event=self._hear,
            )

    def take(self, submitted: Mapping[str, Any]) -> None:
        """Go on with a job that was submitted before."""
        self._asked = submitted
        self._job = self._tuneway.client.jobs.retrieve(submitted["job_id"])

    def wait(self) -> None:
        """Wait in the step. When the run is ended, the job goes on, unless it is to be cancelled then."""
        if self.job.done and self.job.fine_tuned_model:
            return
        with self._cancelling():
            self._job = self._tuneway.client.wait(self.job, timeout=self._recipe.timeout, on_event=self._teller)

    def submitted(self) -> MaterializeResult[Any]:
        """What the submission has given."""
        job, output = self.job, self.handed_on
        facts = {
            "why": self._why(),
            "status": job.status,
            "job": job_link(job.id, self._tuneway.client.base_url),
            "base_model": job.model,
            "training_file": job.training_file,
            "sha256": self._sha256,
            "seed": job.seed,
        }
        if self._recipe.wait == "sensor":
            token = WaitToken(job_id=job.id, deadline=deadline_after(self._recipe.timeout, time.time()))
            output["wait"] = token.model_dump(exclude_none=True)
        content = (job.metadata or {}).get(CONTENT) if self._reuse == "content" else None
        return MaterializeResult(
            asset_key=self._recipe.keys.job,
            metadata=known(facts) | output_metadata(output),
            data_version=DataVersion(content or job.id),
        )

    def trained(self) -> MaterializeResult[Any]:
        """What came of the job."""
        report = gather(self._tuneway.client, self.job)
        facts = model_metadata(report, self._tuneway, self._context.instance)
        return MaterializeResult(
            asset_key=self._recipe.keys.model,
            metadata=facts | output_metadata(self.handed_on),
            data_version=DataVersion(model_version(self.job)),
        )

    @property
    def _reuse(self) -> Reuse:
        return reuse_in(self._context, self._recipe.reuse)

    def _hear(self, news: News) -> None:
        self._adopted = self._adopted or isinstance(news, JobAdopted)
        self._teller(news)

    def _why(self) -> str:
        """Why it is this job, in words."""
        if self._adopted:
            whose = (self.job.metadata or {}).get(ORIGIN, "an earlier run")
            return f"Adopted, nothing was paid: this data with these settings was given to it by {whose}."
        if self._reuse == "content":
            return "A new job: nothing has been trained on this data with these settings before."
        return "A new job: each run trains anew, as the asset or the run's tag says."

    @contextmanager
    def _cancelling(self) -> Iterator[None]:
        """Cancel the job when a person ends the run, if it is to be cancelled then; always let the run end."""
        try:
            yield
        except DagsterExecutionInterruptedError:
            if self._recipe.cancel_on_termination and ended_by_person(self._context):
                self._cancel()
            elif self._job is not None:
                self._context.log.info("%s goes on; a re-execution adopts it", self._job.id)
            raise

    def _cancel(self) -> None:
        try:
            # the client that waits was interrupted by a signal in the middle of anything
            with self._tuneway.new_client(timeout=10.0, retry=Retry(attempts=3, patience=10.0)) as client:
                # before there is an answer, a job is known by who asked for it
                gone = [client.cancel(self._job.id)] if self._job else client.cancel_made_by(self._origin)
            for job in gone:
                self._context.log.info("The run was terminated: %s is %s", job.id, job.status)
        except TunewayError as error:
            words = "The run was terminated, and its job can't be cancelled, so it goes on: %s"
            self._context.log.error(words, error)  # noqa: TRY400 - people read this, and it says all


def model_version(job: Job) -> str:
    """What tells one model from another: what the service calls it."""
    return job.fine_tuned_model or job.id


def look(context: AssetCheckExecutionContext, recipe: AssetRecipe) -> AssetCheckResult:
    """What a look at the latest job tells: the check that the sensor reports, when somebody runs it."""
    tuneway = recipe.resource(context)
    output = output_of(context.instance, recipe.keys.job)
    if output is None:
        warn = AssetCheckSeverity.WARN
        return AssetCheckResult(passed=False, severity=warn, description="no job was submitted yet")
    with told_to_dagster(tuneway):
        (sight,) = tuneway.client.look([output["job_id"]])
        if isinstance(sight, TunewayError) and not isinstance(sight, JobError):
            raise sight
    facts = {"job": job_link(output["job_id"], tuneway.client.base_url)}
    if isinstance(sight, TunewayError):
        return AssetCheckResult(passed=False, description=str(sight), metadata=facts)
    why = f"{sight.id} is {sight.status}"
    if sight.done:
        return AssetCheckResult(passed=True, description=f"{why}: {sight.fine_tuned_model}", metadata=facts)
    return AssetCheckResult(passed=False, severity=AssetCheckSeverity.WARN, description=why, metadata=facts)
