"""The asyncio client's steps: what a pipeline is made of, alone and all together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack, overload

from tuneway import flows
from tuneway.choices import Reuse
from tuneway.client import _arguments
from tuneway.client._async_data import AsyncDataSteps
from tuneway.client._async_registering import AsyncModelSteps
from tuneway.client._async_waiting import AsyncJobSteps
from tuneway.client._fine_tune import FineTuned, SentData, StartedJob
from tuneway.client._uploading import send_recipe
from tuneway.models import JobSpec
from tuneway.progress import Listener
from tuneway.recipe import Recipe
from tuneway.requester import Requester

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.registry import RegistrationFields


class AsyncSteps(AsyncDataSteps, AsyncJobSteps, AsyncModelSteps):
    """The steps of a pipeline, on the account of a client."""

    @overload
    async def check(
        self,
        recipe: Recipe,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> DatasetReport: ...

    @overload
    async def check(
        self,
        recipe: JobSpec,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> None: ...

    async def check(
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
        plan = _arguments.plan_of(recipe, self._account, requester, reuse, then)
        return await self._driver.run(flows.work(plan.check), on_event)

    async def send(
        self,
        recipe: Recipe,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> SentData:
        """Check a recipe, as `check` does, and upload its data. The data is read once.

        Args:
            recipe: What to train.
            requester: Who asks.
            reuse: Which existing jobs will do; see `submit`.
            on_event: Called with news of what happens.
            then: How the model is to be registered; see `fine_tune`.

        Raises:
            InvalidInput: Something is wrong with the recipe, or with what shall happen afterwards; nothing was sent.
        """
        plan = _arguments.plan_of(recipe, self._account, requester, reuse, then)
        return await self._driver.run(send_recipe(self._account, plan, recipe), on_event)

    async def start(
        self,
        recipe: Recipe | JobSpec,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        max_usd: float | None = None,
        on_event: Listener | None = None,
        **then: Unpack[RegistrationFields],
    ) -> StartedJob:
        """Do everything before the wait: check the recipe, upload its data, create or adopt the job.

        Args:
            recipe: What to train; with a `JobSpec`, whose files are on the service already, nothing is uploaded.
            requester: Who asks, the same on every retry. Without one, the content decides.
            reuse: Which existing jobs will do; see `submit`.
            max_usd: A budget for a `JobSpec`, held against the service's own price; see `submit`. A recipe has its own.
            on_event: Called with news of what happens.
            then: How the model is to be registered: checked here, done by `register`.
        """
        if isinstance(recipe, JobSpec):
            await self.check(recipe, requester, reuse=reuse, on_event=on_event, **then)
            report, file, spec, limit = None, None, recipe, max_usd
        else:
            report, file = await self.send(recipe, requester, reuse=reuse, on_event=on_event, **then)
            spec = recipe.spec(file, file.validation)
            limit = self._account.offers.budget(recipe.max_usd)
        job = await self.submit(spec, reuse=reuse, requester=requester, max_usd=limit, on_event=on_event)
        return StartedJob(job=job, spec=spec, report=report, training_file=file)

    async def fine_tune(
        self,
        recipe: Recipe | JobSpec,
        requester: Requester | None = None,
        *,
        reuse: Reuse = "run",
        timeout: float | None = None,  # noqa: ASYNC109 - a deadline that outlives the process, not a scope
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
        flows.deadline_after(timeout, 0.0)  # a wrong time-out is refused before anything is sent
        started = await self.start(recipe, requester, reuse=reuse, on_event=on_event, **then)
        job = await self.wait(started.job, timeout=timeout, on_event=on_event)
        name = then.pop("name", None)
        if name is None:
            return FineTuned(job=job, started=started)
        data = [started.report] if started.report else []
        version = await self.register(
            job, name=name, spec=started.spec, data=data, origin=requester, **_arguments.given(then)
        )
        return FineTuned(job=job, started=started, version=version)
