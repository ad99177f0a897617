"""The asyncio client. Each method is one line: a flow, handed to the driver."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from tuneway import calls, flows
from tuneway.client import _arguments
from tuneway.client._async_operations import (
    AsyncCheckpoints,
    AsyncFiles,
    AsyncGraders,
    AsyncJobs,
    AsyncModels,
    AsyncUploads,
)
from tuneway.client._register import Registration, register
from tuneway.client._settings import NoCookies, Options, tls
from tuneway.drivers import AsyncDriver
from tuneway.errors import TunewayError
from tuneway.flows import Poll, Retry, Reuse, WaitToken
from tuneway.models import File, Job, JobSpec, MetricRow
from tuneway.progress import Listener
from tuneway.watcher import AsyncWatcher

if TYPE_CHECKING:
    from tuneway.dataset import DatasetReport
    from tuneway.registry import Cost, GateLike, ModelVersion, Origin
    from tuneway.registry.build import Choice, DataFacts


class AsyncClient:
    """Fine-tuning jobs on one service, for one account. A client belongs to the loop it is first used on.

    Making one takes some 20 ms, so make one for all, and outside of a busy loop where you can.

    Args:
        base_url: The service; else OPENAI_BASE_URL, else OpenAI's own.
        api_key: Else OPENAI_API_KEY. A service on this machine needs none.
        organization: Else OPENAI_ORG_ID.
        project: Else OPENAI_PROJECT_ID.
        timeout: Seconds that one request may take in all, however slowly its reply drips.
        retry: How one request is sent again where that is safe.
        poll: How often a waiting call looks at its job.
        settle: Seconds within which the service is trusted to show what a request has done; 10 unless it
            is on this machine, where it is 1.
        lookup_pages: A search for a job or a file gives up, and fails closed, after so many pages.
        dialect: "openai" or "azure"; guessed from `base_url`.
        api_version: Azure's dated API version, else OPENAI_API_VERSION; its /openai/v1 needs none.
        http: Your own `httpx.AsyncClient`, for proxies and certificates; you close it.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeout: float = 60.0,
        retry: Retry | None = None,
        poll: Poll | None = None,
        settle: float | None = None,
        lookup_pages: int = 100,
        dialect: str | None = None,
        api_version: str | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        options = Options(
            base_url=base_url, api_key=api_key, organization=organization, project=project, timeout=timeout,
            retry=retry, poll=poll, settle=settle, lookup_pages=lookup_pages, dialect=dialect,
            api_version=api_version,
        )  # fmt: skip
        self._wire, self._account = options.resolve()
        self._owned = http is None
        self._http = http or httpx.AsyncClient(verify=tls(), trust_env=not self._account.local, cookies=NoCookies())
        self._driver = AsyncDriver(self._wire, self._http)
        self._watcher = AsyncWatcher(self._account, self._driver)
        self.files: AsyncFiles = AsyncFiles(self._driver, self._account)
        self.uploads: AsyncUploads = AsyncUploads(self._driver, self._account)
        self.jobs: AsyncJobs = AsyncJobs(self._driver, self._account)
        self.models: AsyncModels = AsyncModels(self._driver, self._account)
        self.checkpoints: AsyncCheckpoints = AsyncCheckpoints(self._driver, self._account)
        self.graders: AsyncGraders = AsyncGraders(self._driver, self._account)

    @property
    def base_url(self) -> str:
        """The service's address."""
        return self._wire.base_url

    async def validate(
        self, path: str | PathLike[str], *, on_event: Listener | None = None, **options: Any
    ) -> DatasetReport:
        """Check training data on this side; `options` are those of `tuneway.dataset.validate`."""
        return await self._driver.run(flows.work(_arguments.validation(path, options)), on_event)

    async def upload(
        self, path: str | PathLike[str], *, validate: bool = True, purpose: str = "fine-tune",
        expires_after: int | None = None, on_event: Listener | None = None, **options: Any,
    ) -> File:  # fmt: skip
        """Have a file on the service: checked, hashed, streamed, and never sent twice.

        Raises:
            InvalidDataset: The data has errors; nothing was sent.
        """
        check = _arguments.check(path, validate=validate, options=options)
        flow = flows.upload(self._account, Path(path), check=check, purpose=purpose, expires_after=expires_after)
        return await self._driver.run(flow, on_event)

    async def submit(
        self, spec: JobSpec, *, key: str | None = None, reuse: Reuse = "run", origin: str | None = None,
        keep_origin: bool = False, on_event: Listener | None = None,
    ) -> Job:  # fmt: skip
        """Have one job for this wish: adopt the one that exists, else create it.

        Args:
            spec: What to train.
            key: Who asks, the same on every retry: "nightly/2026-11-20". Without one, the content decides.
            reuse: "run": what this key made is adopted. "content": whatever trains the same data in the
                same way, whoever made it. "never": a new job for every call.
            origin: A readable word for who asks, kept on the job if there is room; the key, unless given.
            keep_origin: Insist on the room, so `cancel_made_by` finds the job: 13 pairs of metadata are yours then.
            on_event: Told what happens.
        """
        _arguments.check_reuse(reuse)
        flow = flows.submit(
            self._account, spec, key=key, reuse=reuse, origin=origin, keep_origin=keep_origin, nonce=uuid.uuid4().hex
        )
        return await self._driver.run(flow, on_event)

    async def wait(
        self,
        job: str | Job | WaitToken,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - a deadline that outlives the process, not a scope
        on_event: Listener | None = None,
    ) -> Job:
        """Wait until a job has succeeded.

        Raises:
            JobFailed: It failed, and the message says why.
            JobCancelled: Somebody cancelled it.
            WaitTimeout: `timeout` seconds passed; the job goes on.
        """
        token = _arguments.token(job, timeout, self._driver.now())
        wait = await self._watcher.wait(token, on_event)
        return wait.result()

    async def wait_all(
        self,
        jobs: Sequence[str | Job | WaitToken],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as for `wait`
        on_event: Listener | None = None,
    ) -> list[Job]:
        """Wait for all of these jobs with one shared poll; raises the first failure once all have ended."""
        now = self._driver.now()
        tokens = [_arguments.token(job, timeout, now) for job in jobs]
        waits = await self._watcher.wait_all(tokens, on_event)
        return [wait.result() for wait in waits]

    async def look(
        self,
        jobs: Sequence[str | Job | WaitToken],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `wait`
    ) -> list[Job | TunewayError]:
        """Look once at all of these jobs, without waiting: a hundred cost about one request.

        Gives for each, in their order, the job while it lives and when it has succeeded; else the error that
        `wait` would raise. One that isn't a `JobError` says nothing of the job: it couldn't be seen this time.
        After `timeout` seconds no further request is made for those that are left.
        """
        now = self._driver.now()
        tokens = [_arguments.token(job, None, now) for job in jobs]
        return await self._driver.run(flows.look(self._account, tokens, until=flows.deadline_after(timeout, now)))

    async def cancel(self, job_id: str) -> Job:
        """Stop a job for good. One that has ended already is given back as it is."""
        return await self._driver.run(flows.cancel(self._account, job_id))

    async def cancel_made_by(self, origin: str, *, on_event: Listener | None = None) -> list[Job]:
        """Stop for good every job that was submitted with this origin; gives what became of them.

        For when whoever submitted them, with `keep_origin`, is gone. It takes the settle window, since a create
        of theirs may still be on its way.
        """
        return await self._driver.run(flows.cancel_made_by(self._account, origin), on_event)

    async def pause(self, job_id: str) -> Job:
        """Stop a job for now."""
        return await self.jobs.pause(job_id)

    async def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        return await self.jobs.resume(job_id)

    async def result_metrics(self, job: Job | str) -> list[MetricRow]:
        """A succeeded job's metrics, step by step."""
        return await self._driver.run(flows.result_metrics(self._account, job))

    async def register(
        self,
        job: str | Job,
        *,
        name: str,
        alias: str | None = None,
        registry: str | None = None,
        checkpoint: Choice = "last",
        gates: Sequence[GateLike] = (),
        spec: JobSpec | None = None,
        requested: Mapping[str, Any] | None = None,
        data: Iterable[DataFacts | Mapping[str, Any]] = (),
        cost: Cost | None = None,
        origin: Origin | str | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> ModelVersion:
        """Register a succeeded job's model, once, with its lineage.

        Args:
            job: The job.
            name: The model's name, over all its versions.
            alias: "champion", "challenger" or a word of your own, moved to this version if the gates agree.
            registry: `sqlite:///models.db`, `mlflow:http://…`; else TUNEWAY_REGISTRY_URI, else a file of yours.
            checkpoint: "last" is the job's own model, "best" the checkpoint with the lowest validation loss.
            gates: What the version must show before the alias moves (`tuneway.registry`).
            spec: What was asked for: its hyperparameters are kept beside what the service made of them.
            requested: These alone, where the specification isn't at hand (`tuneway.steps.requested_in`).
            data: Reports of `validate`, or outputs of that step, for the rows and tokens of the files.
            cost: What it cost.
            origin: Who asked: engine, pipeline and run; else the job's own mark.
            by: Who registers; else the user's name.
            reason: Why, for the history.

        Raises:
            GateRefused: The version is registered, and the alias has not moved.
        """
        registration = Registration(
            name=name, alias=alias, registry=registry, checkpoint=checkpoint, gates=gates, spec=spec,
            requested=requested, data=data, cost=cost, origin=origin, by=by, reason=reason,
            service_url=self.base_url,
        )  # fmt: skip
        return await self._driver.run(register(self._account, job, registration))

    async def ask(self, model: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """Ask a model by chat completion, and give the text of its answer."""
        return await self._driver.run(flows.request(self._account, calls.models.chat(model, messages, **options)))

    async def aclose(self) -> None:
        """Stop watching and close the connections; an `http` that was given is left open."""
        await self._watcher.aclose()
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"
