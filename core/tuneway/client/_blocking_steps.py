# Generated from _async_steps.py by scripts/unasync.py: change that file, then run the script.
# fmt: off
"""The blocking client's steps: what a pipeline is made of, alone and all together."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack, overload

from tuneway import flows
from tuneway.client import _arguments
from tuneway.client._checks import TrainingPlan, checked
from tuneway.client._fine_tune import FilePair, FineTuned, StartedJob
from tuneway.client._register import Registration, outcome, register
from tuneway.client._uploading import Uploading
from tuneway.drivers import Driver
from tuneway.errors import TunewayError
from tuneway.flows import Account, WaitToken
from tuneway.models import File, Job, JobSpec, TrainingSpec
from tuneway.outcome import Outcome
from tuneway.progress import Listener
from tuneway.recipe import Data, Recipe
from tuneway.requester import Requester, Reuse
from tuneway.watcher import Watcher

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.registry import Cost, GateLike, ModelVersion, Origin, RegistrationFields
    from tuneway.registry.build import DataFacts
    from tuneway.registry.registration import Choice


class Steps:
    """The steps of a pipeline, on the account of a client."""

    _account: Account
    _driver: Driver
    _watcher: Watcher

    @property
    def base_url(self) -> str:
        """The service's address."""
        raise NotImplementedError

    @overload
    def check(
        self,
        recipe: Recipe,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> DatasetReport: ...

    @overload
    def check(
        self,
        recipe: JobSpec,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> None: ...

    def check(
        self,
        recipe: Recipe | JobSpec,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> DatasetReport | None:
        """Check a recipe, and how its model is to be registered. Nothing is sent.

        This checks the fields, both data files and the pair of them, the budget, and the name, alias, checkpoint
        and gates of the registration. It returns the report about the data; None for a `JobSpec`, whose files are
        on the service already.

        Args:
            recipe: What to train.
            requester: Who asks.
            reuse: Which existing jobs will do; see `submit`.
            on_event: Called with the progress of the reading.
            then: How the model is to be registered; see `fine_tune`.

        Raises:
            InvalidSpec: A field is wrong; `.field` says which.
            InvalidDataset: The data has errors; `.report` lists them.
            OverBudget: The training would cost more than `max_usd`.
        """
        plan = self._plan(recipe, requester, reuse, then)
        return self._driver.run(flows.work(plan.check), on_event)

    def validate(
        self,
        training_data: Data | None = None,
        *,
        validation_data: Data | None = None,
        on_event: Listener | None = None,
        **options: Any,
    ) -> DatasetReport:
        """Check data on this machine: training data, validation data, or both as a pair. The report lists the errors.

        `options` are those of `tuneway.dataset.validate`.
        """

        def run(listener: Listener) -> DatasetReport:
            return checked(listener, training_data, validation_data=validation_data, **options)

        return self._driver.run(flows.work(run), on_event)

    @overload
    def upload(
        self,
        training_data: Data,
        *,
        validation_data: None = None,
        report: DatasetReport | None = None,
        validate: bool = True,
        purpose: str = "fine-tune",
        expires_after: int | None = None,
        on_event: Listener | None = None,
        **options: Any,
    ) -> File: ...

    @overload
    def upload(
        self,
        training_data: None = None,
        *,
        validation_data: Data,
        report: DatasetReport | None = None,
        validate: bool = True,
        purpose: str = "fine-tune",
        expires_after: int | None = None,
        on_event: Listener | None = None,
        **options: Any,
    ) -> File: ...

    @overload
    def upload(
        self,
        training_data: Data,
        *,
        validation_data: Data,
        report: DatasetReport | None = None,
        validate: bool = True,
        purpose: str = "fine-tune",
        expires_after: int | None = None,
        on_event: Listener | None = None,
        **options: Any,
    ) -> FilePair: ...

    def upload(
        self,
        training_data: Data | None = None,
        *,
        validation_data: Data | None = None,
        report: DatasetReport | None = None,
        validate: bool = True,
        purpose: str = "fine-tune",
        expires_after: int | None = None,
        on_event: Listener | None = None,
        **options: Any,
    ) -> File | FilePair:
        """Upload data: check it, hash it, and send it unless the service has it already.

        Training and validation data given together are checked as a pair: a row that is in both is an error. This
        can't be checked for files that are uploaded separately. Fewer than ten rows of validation data are a
        warning; fewer than ten rows of training data are an error.

        Args:
            training_data: The path of a JSONL file.
            validation_data: Likewise.
            report: The report of `check` or `validate` about these files, so that they needn't be checked again.
                A file that was written since is refused.
            validate: Whether to check them; False only hashes them.
            purpose: What the service is told that they are for.
            expires_after: Seconds after which the service deletes them.
            on_event: Called with news of what happens.
            options: Further arguments of `tuneway.dataset.validate`.

        Raises:
            InvalidDataset: The data has errors; nothing was sent.
        """
        uploading = Uploading(
            training_data=training_data, validation_data=validation_data, report=report, validate=validate,
            options=options, purpose=purpose, expires_after=expires_after,
        )  # fmt: skip
        files = self._driver.run(uploading.send(self._account), on_event)
        return files[0] if len(files) == 1 else FilePair(*files)

    def submit(
        self,
        spec: JobSpec,
        *,
        key: str | None = None,
        reuse: Reuse = "run",
        requester: Requester | None = None,
        on_event: Listener | None = None,
    ) -> Job:
        """Get the one job for this specification: adopt the one that exists, else create it.

        Args:
            spec: What to train.
            key: Who asks, the same on every retry: "nightly/2026-11-20". Without one, the content decides.
            reuse: "run": what this key or requester made is adopted. "content": whatever trains the same data in the
                same way, whoever made it. "never": a new job for every call.
            requester: Who asks, in more words than a key: engine, pipeline, run, step.
            on_event: Called with news of what happens.
        """
        flow = flows.submit(
            self._account, spec, requester=_arguments.requester(key, requester), reuse=reuse, nonce=uuid.uuid4().hex
        )
        return self._driver.run(flow, on_event)

    def start(
        self,
        recipe: Recipe | JobSpec,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> StartedJob:
        """Do everything before the wait: check the recipe, upload its data, create or adopt the job.

        Args:
            recipe: What to train; with a `JobSpec`, whose files are on the service already, nothing is uploaded.
            requester: Who asks, the same on every retry. Without one, the content decides.
            reuse: Which existing jobs will do; see `submit`.
            on_event: Called with news of what happens.
            then: How the model is to be registered: checked here, done by `register`.
        """
        if isinstance(recipe, JobSpec):
            self.check(recipe, requester, reuse=reuse, on_event=on_event, **then)
            job = self.submit(recipe, reuse=reuse, requester=requester, on_event=on_event)
            return StartedJob(job=job, spec=recipe)
        report = self.check(recipe, requester, reuse=reuse, on_event=on_event, **then)
        training, validation = self._send(recipe, report, on_event)
        spec = recipe.spec(training, validation)
        job = self.submit(spec, reuse=reuse, requester=requester, on_event=on_event)
        return StartedJob(job=job, spec=spec, report=report, training_file=training, validation_file=validation)

    def fine_tune(
        self,
        recipe: Recipe | JobSpec,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        timeout: float | None = None,
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> FineTuned:
        """Fine-tune a model: check the recipe, upload its data, submit, wait, register the model if it has a `name`.

        After any failure, call it again with the same arguments: it continues, and nothing is paid twice.

        Args:
            recipe: What to train; with a `JobSpec`, whose files are on the service already, nothing is uploaded.
            requester: Who asks, the same on every retry. Without one, the content decides.
            reuse: Which existing jobs will do; see `submit`.
            timeout: Seconds to wait for the job; it goes on when they have passed.
            on_event: Called with news of what happens.
            then: How the model is registered: `name`, `registry`, `alias`, `checkpoint`, `gates`, `reason`.

        Raises:
            InvalidInput: Something is wrong with the recipe, or with what shall happen afterwards; nothing was sent.
            JobError: The job failed, was cancelled, or took longer than `timeout`.
            GateRefused: The version is registered, and the alias has not moved.
        """
        started = self.start(recipe, requester, reuse=reuse, on_event=on_event, **then)
        job = self.wait(started.job, timeout=timeout, on_event=on_event)
        name = then.pop("name", None)
        if name is None:
            return FineTuned(job=job, started=started)
        data = [started.report] if started.report else []
        version = self.register(
            job, name=name, spec=started.spec, data=data, origin=requester, **_arguments.given(then)
        )
        return FineTuned(job=job, started=started, version=version)

    def wait(
        self,
        job: str | Job | WaitToken,
        *,
        timeout: float | None = None,
        on_event: Listener | None = None,
    ) -> Job:
        """Wait until a job has succeeded.

        Raises:
            JobFailed: It failed, and the message says why.
            JobCancelled: Somebody cancelled it.
            WaitTimeout: `timeout` seconds passed; the job goes on.
        """
        token = _arguments.token(job, timeout, self._driver.now())
        wait = self._watcher.wait(token, on_event)
        return wait.result()

    def wait_all(
        self,
        jobs: Sequence[str | Job | WaitToken],
        *,
        timeout: float | None = None,
        on_event: Listener | None = None,
    ) -> list[Job]:
        """Wait for all of these jobs with one shared poll. Raises the first failure when all have ended."""
        now = self._driver.now()
        tokens = [_arguments.token(job, timeout, now) for job in jobs]
        waits = self._watcher.wait_all(tokens, on_event)
        return [wait.result() for wait in waits]

    def look(
        self,
        jobs: Sequence[str | Job | WaitToken],
        *,
        timeout: float | None = None,
    ) -> list[Job | TunewayError]:
        """Look once at all of these jobs, without waiting: a hundred jobs take about one request.

        Gives for each, in their order, the job while it lives and when it has succeeded; else the error that
        `wait` would raise. One that isn't a `JobError` says nothing of the job: it couldn't be seen this time.
        After `timeout` seconds no further request is made for those that are left.
        """
        now = self._driver.now()
        tokens = [_arguments.token(job, None, now) for job in jobs]
        return self._driver.run(flows.look(self._account, tokens, until=flows.deadline_after(timeout, now)))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job. A job that has ended already is returned unchanged."""
        return self._driver.run(flows.cancel(self._account, job_id))

    def cancel_made_by(self, requester: Requester | str, *, on_event: Listener | None = None) -> list[Job]:
        """Cancel every job that this requester has made, and return them.

        It is for a process other than the one that submitted the jobs, with `keep_origin`. It takes the settle
        window, since a create may still be on its way.

        Args:
            requester: Who asked for the jobs, or the origin mark itself.
            on_event: Called with news of what happens.
        """
        origin = requester if isinstance(requester, str) else requester.origin
        return self._driver.run(flows.cancel_made_by(self._account, origin), on_event)

    def outcome(self, job: Job | str, *, log: bool = False, forgiving: bool = False) -> Outcome:
        """Get the outcome of a job: metrics, checkpoints, cost, trainer, model.

        Args:
            job: The job, or its id for the job as it is now.
            log: Fetch its log as well, where a result file has the numbers already.
            forgiving: Leave out what can't be read at the moment and name it in `.missing`, instead of raising.
        """
        return self._driver.run(outcome(self._account, job, self.base_url, log=log, forgiving=forgiving))

    def register(
        self,
        job: str | Job,
        *,
        name: str,
        registry: str | None = None,
        alias: str | None = None,
        checkpoint: Choice = "last",
        gates: Sequence[GateLike] = (),
        reason: str | None = None,
        spec: TrainingSpec | None = None,
        requested: Mapping[str, Any] | None = None,
        data: Iterable[DataFacts | Mapping[str, Any]] = (),
        cost: Cost | None = None,
        origin: Requester | Origin | str | None = None,
        by: str | None = None,
    ) -> ModelVersion:
        """Register a succeeded job's model, once, with its lineage.

        Args:
            job: The job.
            name: The model's name, over all its versions.
            registry: `sqlite:///models.db`, `mlflow:http://…`; else TUNEWAY_REGISTRY_URI, else a file of yours.
            alias: "champion", "challenger" or a word of your own, moved to this version if the gates agree.
            checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
            gates: What the version must show before the alias moves (`tuneway.registry`).
            reason: Why, for the history.
            spec: What was asked for: its hyperparameters are kept beside what the service made of them.
            requested: These alone, where the specification isn't at hand (`tuneway.steps.requested_in`).
            data: Reports of `check` or `validate`, or outputs of those steps, for the rows and tokens of the files.
            cost: What it cost.
            origin: Who asked; else the job's own mark.
            by: Who registers; else the user's name.

        Raises:
            GateRefused: The version is registered, and the alias has not moved.
        """
        registration = Registration(
            name=name, registry=registry, alias=alias, checkpoint=checkpoint, gates=gates, reason=reason, spec=spec,
            requested=requested, data=data, cost=cost, origin=origin, by=by,
        )  # fmt: skip
        return self._driver.run(register(self._account, job, self.base_url, registration))

    def _plan(
        self, recipe: Recipe | JobSpec, requester: Requester | None, reuse: Reuse, then: RegistrationFields
    ) -> TrainingPlan:
        return TrainingPlan(
            recipe=recipe, requester=requester or Requester(), reuse=reuse, free=self._account.local, then=then
        )

    def _send(self, recipe: Recipe, report: DatasetReport, on_event: Listener | None) -> tuple[File, File | None]:
        """Upload the data of a checked recipe."""
        uploading = Uploading(
            training_data=recipe.training_data, validation_data=recipe.validation_data, report=report, options={}
        )
        training, *validation = self._driver.run(uploading.send(self._account), on_event)
        return training, next(iter(validation), None)
