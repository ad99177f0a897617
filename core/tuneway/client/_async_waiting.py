"""The asyncio client's steps with a job: have one, wait for it, cancel it."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tuneway import flows, steps
from tuneway.choices import OnStaleData, Reuse
from tuneway.client import _arguments
from tuneway.drivers import AsyncDriver
from tuneway.errors import TunewayError
from tuneway.flows import Account, WaitToken
from tuneway.models import Job, JobSpec
from tuneway.progress import Listener
from tuneway.requester import Requester
from tuneway.watcher import AsyncWatcher


class AsyncJobSteps:
    """Steps with jobs, on the account of a client."""

    _account: Account
    _driver: AsyncDriver
    _watcher: AsyncWatcher

    async def submit(
        self,
        spec: JobSpec,
        *,
        key: str | None = None,
        reuse: Reuse = "run",
        requester: Requester | None = None,
        max_usd: float | None = None,
        on_event: Listener | None = None,
    ) -> Job:
        """Get the one job for this specification: adopt the one that exists, else create it.

        Args:
            spec: What to train.
            key: Who asks, the same on every retry: "nightly/2026-11-20". Without one, the content decides.
            reuse: "run": what this key or requester made is adopted. "content": whatever trains the same data in the
                same way, whoever made it. "never": a new job for every call.
            requester: Who asks, in more words than a key: engine, pipeline, run, step.
            max_usd: A budget, held against the service's own price before a job is created. Where the service says
                none, it is refused: a `Recipe` has data, from which the cost is estimated. A service on this machine
                sends no bill, so there any budget will do.
            on_event: Called with news of what happens.
        """
        flow = flows.submit(
            self._account,
            _arguments.specification(spec),
            requester=_arguments.requester(key, requester),
            reuse=reuse,
            nonce=uuid.uuid4().hex,
            max_usd=max_usd,
        )
        return await self._driver.run(flow, on_event)

    async def go_on(
        self,
        job: str | Mapping[str, Any],
        spec: JobSpec | None = None,
        requester: Requester | None = None,
        *,
        on_stale_data: OnStaleData = "adopt",
        on_event: Listener | None = None,
    ) -> Job | None:
        """Get the job of an earlier attempt, if this attempt is to go on with it; None if `submit` is to decide.

        It is for a task that is tried again in an engine that has stored its job. Without a `spec` any job will do
        that is alive or has succeeded, so no data has to be read again. With one, the job is compared with it: only a
        job that is alive and has other data is decided on here.

        Args:
            job: The job's id, or the output of the step that submitted it.
            spec: What is asked for now, its data read again.
            requester: Who asks. A job that it hasn't made is never cancelled.
            on_stale_data: What becomes of a job that is alive and has other data: "adopt" goes on with it, "cancel"
                cancels it, and "fail" raises.
            on_event: Called with news of what happens.

        Raises:
            StaleData: The data has changed, and `on_stale_data` is "fail".
        """
        flow = flows.go_on(
            self._account,
            steps.job_id_of(job),
            spec,
            requester,
            on_stale_data=on_stale_data,
            mark=(steps.made_in(job) or {}).get("key"),
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
            UnknownStatus: It has ended, with a status that is unknown here.
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
        """Wait for all of these jobs with one shared poll. Raises the first failure when all have ended."""
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
        """Look once at all of these jobs, without waiting: a hundred jobs take about one request.

        Gives for each, in their order, the job while it lives and when it has succeeded; else the error that
        `wait` would raise. One that isn't a `JobError` says nothing of the job: it couldn't be seen this time.
        After `timeout` seconds no further request is made for those that are left.
        """
        now = self._driver.now()
        tokens = [_arguments.token(job, None, now) for job in jobs]
        return await self._driver.run(flows.look(self._account, tokens, until=flows.deadline_after(timeout, now)))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job. A job that has ended already is returned unchanged."""
        return await self._driver.run(flows.cancel(self._account, job_id))

    async def cancel_made_by(
        self,
        requester: Requester | str,
        *,
        spec: JobSpec | None = None,
        marks: Collection[str] = (),
        on_event: Listener | None = None,
    ) -> list[Job]:
        """Cancel every job that this requester has made, and return them.

        It is for a process other than the one that submitted the jobs, with `keep_origin`. It takes the settle
        window, since a create may still be on its way.

        Where the mark is in a job's suffix, there may be no room for who asked for it. Then the requester and the
        `spec` are needed, or the `marks`; jobs that were made with `reuse="content"` are found by `marks` alone.

        Args:
            requester: Who asked for the jobs, or the origin mark itself.
            spec: Cancel only the jobs that train the same data in the same way as this.
            marks: What `CreatePlanned` reported before each create: jobs with one of these marks are cancelled as well.
            on_event: Called with news of what happens.
        """
        return await self._driver.run(flows.cancel_made_by(self._account, requester, spec, marks), on_event)

    async def cancel_marked(self, mark: str, *, on_event: Listener | None = None) -> list[Job]:
        """Cancel every job with this mark, and return them.

        It is for a process other than the one that submitted the job, on services where a job's mark has no room
        for who asked for it. It takes the settle window, since a create may still be on its way.

        Args:
            mark: The mark, as `CreatePlanned` reported it before the create was sent.
            on_event: Called with news of what happens.
        """
        return await self._driver.run(flows.cancel_marked(self._account, mark), on_event)
