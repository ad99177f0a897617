"""The API's operations, one method each, to be awaited: `client.files`, `client.jobs` and their neighbours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

from tuneway import calls, flows
from tuneway.client import _arguments
from tuneway.drivers import AsyncDriver
from tuneway.flows import Account, Listed, Pager
from tuneway.models import (
    Checkpoint,
    Deleted,
    Event,
    File,
    GraderRun,
    GraderValidation,
    Job,
    JobSpec,
    MemoryEstimate,
    Model,
    Page,
    Permission,
    Upload,
    UploadPart,
)

T = TypeVar("T")
L = TypeVar("L", bound=Listed)
PermissionList = list[Permission]  # inside the class, `list` is the operation


class _AsyncNamespace:
    def __init__(self, driver: AsyncDriver, account: Account) -> None:
        self._driver = driver
        self._account = account

    async def _call(self, call: calls.Call[T]) -> T:
        return await self._driver.run(flows.request(self._account, call))

    async def _pages(self, page: Callable[[str | None], calls.Call[Page[L]]]) -> AsyncIterator[L]:
        pager = Pager(self._account, page)
        while not pager.done:
            for item in await self._driver.run(pager.next()):
                yield item


class AsyncFiles(_AsyncNamespace):
    """`client.files`: what was uploaded."""

    async def create(
        self, file: str | PathLike[str] | bytes, *, purpose: str = "fine-tune", filename: str | None = None,
        expires_after: int | None = None,
    ) -> File:  # fmt: skip
        """Upload a file as it is, without checking it or looking for an earlier upload (see `client.upload`)."""
        source, name = _arguments.file_source(file, filename)
        return await self._call(calls.files.create(source, filename=name, purpose=purpose, expires_after=expires_after))

    def list(
        self, *, purpose: str | None = None, limit: int | None = None, order: str | None = None
    ) -> AsyncIterator[File]:
        """List all files, page by page; `limit` is the size of a page."""
        return self._pages(lambda after: calls.files.listing(purpose=purpose, after=after, limit=limit, order=order))

    async def retrieve(self, file_id: str) -> File:
        """Get a file's metadata."""
        return await self._call(calls.files.retrieve(file_id))

    async def content(self, file_id: str) -> bytes:
        """Get a file's content."""
        return await self._call(calls.files.content(file_id))

    async def delete(self, file_id: str) -> Deleted:
        """Delete a file."""
        return await self._call(calls.files.delete(file_id))


class AsyncUploads(_AsyncNamespace):
    """`client.uploads`: large files, sent in parts. `client.upload` uses it by itself."""

    async def create(
        self, *, filename: str, bytes: int, purpose: str = "fine-tune",  # noqa: A002 - the API's own word
        mime_type: str = "application/jsonl", expires_after: int | None = None,
    ) -> Upload:  # fmt: skip
        """Start an upload of this many bytes."""
        return await self._call(
            calls.uploads.create(
                filename=filename,
                size=bytes,
                purpose=purpose,
                mime_type=mime_type,
                expires_after=expires_after,
            )
        )

    async def add_part(self, upload_id: str, *, data: bytes | str | PathLike[str]) -> UploadPart:
        """Send a part."""
        return await self._call(calls.uploads.add_part(upload_id, _arguments.file_source(data, "part")[0]))

    async def complete(self, upload_id: str, *, part_ids: Sequence[str], md5: str | None = None) -> Upload:
        """Finish an upload: the service joins the parts in this order."""
        return await self._call(calls.uploads.complete(upload_id, part_ids=part_ids, md5=md5))

    async def cancel(self, upload_id: str) -> Upload:
        """Cancel an upload."""
        return await self._call(calls.uploads.cancel(upload_id))


class AsyncJobs(_AsyncNamespace):
    """`client.jobs`: the API's operations one to one. For pipelines see `client.submit` and `client.wait`."""

    async def create(self, spec: JobSpec) -> Job:
        """Create a job, without looking for an existing one and without marks to find it by."""
        self._account.offers.check(spec, service=self._account.service)
        return await self._call(calls.jobs.create(spec.to_wire()))

    def list(self, *, metadata: Mapping[str, str] | None = None, limit: int | None = None) -> AsyncIterator[Job]:
        """List jobs, newest first; `metadata` filters by these pairs (`{}`: jobs without metadata)."""
        pages = self._pages(lambda after: calls.jobs.listing(metadata=metadata, after=after, limit=limit))
        return (job async for job in pages if _arguments.carries(job, metadata))

    async def retrieve(self, job_id: str) -> Job:
        """Get a job."""
        return await self._call(calls.jobs.retrieve(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job."""
        return await self._call(calls.jobs.cancel(job_id))

    async def pause(self, job_id: str) -> Job:
        """Pause a job."""
        self._account.offers.check_action("pause", service=self._account.service)
        return await self._call(calls.jobs.pause(job_id))

    async def resume(self, job_id: str) -> Job:
        """Resume a paused job."""
        self._account.offers.check_action("resume", service=self._account.service)
        return await self._call(calls.jobs.resume(job_id))

    def events(self, job_id: str, *, limit: int | None = None) -> AsyncIterator[Event]:
        """List a job's events, newest first."""
        return self._pages(lambda after: calls.jobs.events(job_id, after=after, limit=limit))

    def checkpoints(self, job_id: str, *, limit: int | None = None) -> AsyncIterator[Checkpoint]:
        """List a job's checkpoints, newest first."""
        return self._pages(lambda after: calls.jobs.checkpoints(job_id, after=after, limit=limit))


class AsyncModels(_AsyncNamespace):
    """`client.models`."""

    async def list(self) -> AsyncIterator[Model]:
        """List all models."""
        models = await self._call(calls.models.listing())
        for model in models.data:
            yield model

    async def retrieve(self, model_id: str) -> Model:
        """Get a model's metadata."""
        return await self._call(calls.models.retrieve(model_id))

    async def delete(self, model_id: str) -> Deleted:
        """Delete a fine-tuned model."""
        return await self._call(calls.models.delete(model_id))

    async def memory(
        self, model_id: str, *, rows: int, longest_row: int, method: Mapping[str, Any] | None = None
    ) -> MemoryEstimate:
        """Ask a local service how much memory a training of this model would need.

        Args:
            model_id: The base model.
            rows: The number of examples.
            longest_row: The tokens of the longest one.
            method: The method with its hyperparameters, as in a job.
        """
        return await self._call(calls.models.memory(model_id, rows=rows, longest_row=longest_row, method=method))


class AsyncPermissions(_AsyncNamespace):
    """`client.checkpoints.permissions`: which projects may use a checkpoint."""

    async def create(self, checkpoint: str, *, project_ids: Sequence[str]) -> PermissionList:
        """Share a checkpoint with projects."""
        shared = await self._call(calls.permissions.create(checkpoint, project_ids=project_ids))
        return shared.data

    def list(
        self, checkpoint: str, *, project_id: str | None = None, order: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Permission]:
        """List a checkpoint's permissions."""
        return self._pages(
            lambda after: calls.permissions.listing(
                checkpoint, after=after, limit=limit, order=order, project_id=project_id
            )
        )

    async def delete(self, checkpoint: str, *, permission_id: str) -> Deleted:
        """Delete a permission."""
        return await self._call(calls.permissions.delete(checkpoint, permission_id=permission_id))


class AsyncCheckpoints(_AsyncNamespace):
    """`client.checkpoints`."""

    def __init__(self, driver: AsyncDriver, account: Account) -> None:
        super().__init__(driver, account)
        self.permissions: AsyncPermissions = AsyncPermissions(driver, account)

    def list(self, job_id: str, *, limit: int | None = None) -> AsyncIterator[Checkpoint]:
        """List a job's checkpoints, newest first."""
        return self._pages(lambda after: calls.jobs.checkpoints(job_id, after=after, limit=limit))


class AsyncGraders(_AsyncNamespace):
    """`client.graders`: try a grader before a job is paid for."""

    async def validate(self, grader: Mapping[str, Any]) -> GraderValidation:
        """Ask the service whether a grader is valid."""
        return await self._call(calls.graders.validate(_arguments.as_json(grader)))

    async def run(
        self, grader: Mapping[str, Any], *, model_sample: str, item: Mapping[str, Any] | None = None
    ) -> GraderRun:
        """Run a grader on one sample."""
        return await self._call(calls.graders.run(_arguments.as_json(grader), model_sample=model_sample, item=item))
