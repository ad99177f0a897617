"""The second step: create or adopt one job, and wait for its model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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
from dagster_tuneway._runs import ended_by_person, is_own, partition_of, requester_of, reuse_in
from dagster_tuneway.resource import FineTuningResource
from tuneway import Job, JobSpec, Recipe, Retry, WaitToken
from tuneway._escape import one_line
from tuneway.choices import Reuse
from tuneway.errors import JobError, TunewayError
from tuneway.flows import CONTENT, ORIGIN, deadline_after
from tuneway.progress import CreatePlanned, JobAdopted, JobCreated, News
from tuneway.steps import as_made, data_facts, file_id_of, job_id_of, job_summary, validation_file_id_of

if TYPE_CHECKING:
    from tuneway.client import StartedJob


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
    """One attempt of one step to train a model."""

    def __init__(self, context: AssetExecutionContext, recipe: AssetRecipe, tuneway: FineTuningResource) -> None:
        self._context = context
        self._recipe = recipe
        self._tuneway = tuneway
        self._teller = Teller(context.log)
        self._requester = requester_of(context, recipe.keys.job, keep_origin=recipe.cancel_on_termination)
        self._adopted = False
        self._made: str | None = None  # the id of the job that this attempt has created
        self._marks: set[str] = set()  # of the creates that this attempt has sent
        self._job: Job | None = None
        self._created: Mapping[str, Any] = {}

    @property
    def job(self) -> Job:
        """The job, once there is one."""
        assert self._job is not None
        return self._job

    @property
    def output(self) -> dict[str, Any]:
        """What this step hands on to the next ones."""
        return job_summary(self.job, self._created)

    def submit(self, uploaded: Mapping[str, Any]) -> None:
        """Create or adopt the job for this data, which is the output of the upload step."""
        # outputs of earlier versions name the validation file at the top
        validation_file = validation_file_id_of(uploaded) or uploaded.get("validation_file_id")
        spec = self._recipe.spec(file_id_of(uploaded), validation_file, partition_of(self._context))
        self._start(spec, data=uploaded)

    def start(self, recipe: Recipe) -> StartedJob:
        """Create or adopt the job for this recipe. Its data is checked and uploaded first."""
        return self._start(recipe)

    def take(self, created: Mapping[str, Any]) -> None:
        """Go on with a job that was submitted before: the output of the step that did."""
        self._created = created
        self._job = as_made(self._tuneway.client.jobs.retrieve(job_id_of(created)), created)

    def wait(self) -> None:
        """Wait in the step. The job goes on when the run is terminated, unless it is to be cancelled then."""
        if self.job.done and self.job.fine_tuned_model:
            return
        with self._cancelling():
            self._job = self._tuneway.client.wait(self.job, timeout=self._recipe.timeout, on_event=self._teller)

    def submitted(self) -> MaterializeResult[Any]:
        """The materialization of the job."""
        job, output = self.job, self.output
        facts = {
            "why": self._why(),
            "status": job.status,
            "job": job_link(job.id, self._tuneway.client.base_url),
            "base_model": job.model,
            "training_file": job.training_file,
            "sha256": next((fact["sha256"] for fact in data_facts(output)), None),
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
            value=output,
        )

    def trained(self) -> MaterializeResult[Any]:
        """The materialization of the model."""
        outcome = self._tuneway.client.outcome(self.job, log=True, forgiving=True)
        facts = model_metadata(outcome, self._tuneway, self._context.instance)
        output = self.output
        return MaterializeResult(
            asset_key=self._recipe.keys.model,
            metadata=facts | output_metadata(output),
            data_version=DataVersion(model_version(self.job)),
            value=output,
        )

    @property
    def _reuse(self) -> Reuse:
        return reuse_in(self._context, self._recipe.reuse)

    def _start(self, what: Recipe | JobSpec, data: Mapping[str, Any] | None = None) -> StartedJob:
        partition = partition_of(self._context)
        self._recipe.questions(partition)
        then = self._recipe.then(partition, registry=self._tuneway.registry)
        client = self._tuneway.client
        with self._cancelling():
            started = client.start(
                what,
                self._requester,
                reuse=self._reuse,
                max_usd=client.offers.budget(self._recipe.max_usd),
                on_event=self._hear,
                **then,
            )
            self._job = started.job
        self._created = job_summary(started.job, started.spec, data=data or started.report, by=self._requester)
        return started

    def _hear(self, news: News) -> None:
        if isinstance(news, JobAdopted):
            self._adopted, self._job = True, news.job
        elif isinstance(news, JobCreated):
            self._made = news.job.id
        elif isinstance(news, CreatePlanned):
            self._marks.add(news.mark)
        self._teller(news)

    def _why(self) -> str:
        """Why it is this job, in a sentence."""
        if self._adopted:
            whose = (self.job.metadata or {}).get(ORIGIN, "an earlier run")
            return f"Adopted, so nothing is paid: this data was submitted with these settings before, by {whose}."
        if self._reuse == "content":
            return "A new job: nothing has been trained on this data with these settings before."
        return "A new job: each run trains again, as the asset or the run's tag says."

    @contextmanager
    def _cancelling(self) -> Iterator[None]:
        """Cancel the job when a person terminates the run, if it is to be cancelled then; always let the run end."""
        try:
            yield
        except DagsterExecutionInterruptedError:
            if self._recipe.cancel_on_termination and ended_by_person(self._context):
                self._cancel()
            elif self._job is not None:
                self._context.log.info("%s goes on; a re-execution adopts it", one_line(self._job.id))
            raise

    def _cancel(self) -> None:
        job = self._job
        if job is not None and job.id != self._made and not is_own(self._context, job, self._requester):
            self._context.log.info(
                "The run was terminated: %s goes on, since another run has made it", one_line(job.id)
            )
            return
        try:
            # the signal may have interrupted the client that waits in the middle of anything
            with self._tuneway.new_client(timeout=10.0, retry=Retry(attempts=3, patience=10.0)) as client:
                # before the service has answered, a job is known only by who asked for it
                gone = [client.cancel(job.id)] if job else client.cancel_made_by(self._requester, marks=self._marks)
            for one in gone:
                self._context.log.info("The run was terminated: %s is %s", one_line(one.id), one_line(one.status))
        except TunewayError as error:
            words = "The run was terminated, and its job can't be cancelled, so it goes on: %s"
            self._context.log.error(words, error)  # noqa: TRY400 - a traceback tells the reader nothing more


def model_version(job: Job) -> str:
    """What tells one model from another: the service's name for it."""
    return job.fine_tuned_model or job.id


def look(context: AssetCheckExecutionContext, recipe: AssetRecipe) -> AssetCheckResult:
    """Look at the latest job: what the check `trained`, which the sensor reports, does when a person runs it."""
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
