# Generated from _async_operations.py by scripts/unasync.py: change that file, then run the script.
# fmt: off
"""The API's operations, one method each, blocking: `client.files`, `client.jobs` and their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

from tuneway import calls, flows
from tuneway.client import _arguments
from tuneway.drivers import Driver
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


class _Namespace:
    def __init__(self, driver: Driver, account: Account) -> None:
        self._driver = driver
        self._account = account

    def _call(self, call: calls.Call[T]) -> T:
        return self._driver.run(flows.request(self._account, call))

    def _pages(self, page: Callable[[str | None], calls.Call[Page[L]]]) -> Iterator[L]:
        pager = Pager(self._account, page)
        while not pager.done:
            yield from self._driver.run(pager.next())


class Files(_Namespace):
    """`client.files`: what was uploaded."""

    def create(
        self, file: str | PathLike[str] | bytes, *, purpose: str = "fine-tune", filename: str | None = None,
        expires_after: int | None = None,
    ) -> File:  # fmt: skip
        """Upload a file as it is, without checking it or looking for an earlier upload (see `client.upload`)."""
        source, name = _arguments.file_source(file, filename)
        return self._call(calls.files.create(source, filename=name, purpose=purpose, expires_after=expires_after))

    def list(
        self, *, purpose: str | None = None, limit: int | None = None, order: str | None = None
    ) -> Iterator[File]:
        """List all files, page by page; `limit` is the size of a page."""
        return self._pages(lambda after: calls.files.listing(purpose=purpose, after=after, limit=limit, order=order))

    def retrieve(self, file_id: str) -> File:
        """Get a file's metadata."""
        return self._call(calls.files.retrieve(file_id))

    def content(self, file_id: str) -> bytes:
        """Get a file's content."""
        return self._call(calls.files.content(file_id))

    def delete(self, file_id: str) -> Deleted:
        """Delete a file."""
        return self._call(calls.files.delete(file_id))


class Uploads(_Namespace):
    """`client.uploads`: large files, sent in parts. `client.upload` uses it by itself."""

    def create(
        self, *, filename: str, bytes: int, purpose: str = "fine-tune",  # noqa: A002 - the API's own word
        mime_type: str = "application/jsonl", expires_after: int | None = None,
    ) -> Upload:  # fmt: skip
        """Start an upload of this many bytes."""
        return self._call(
            calls.uploads.create(
                filename=filename,
                size=bytes,
                purpose=purpose,
                mime_type=mime_type,
                expires_after=expires_after,
            )
        )

    def add_part(self, upload_id: str, *, data: bytes | str | PathLike[str]) -> UploadPart:
        """Send a part."""
        return self._call(calls.uploads.add_part(upload_id, _arguments.file_source(data, "part")[0]))

    def complete(self, upload_id: str, *, part_ids: Sequence[str], md5: str | None = None) -> Upload:
        """Finish an upload: the service joins the parts in this order."""
        return self._call(calls.uploads.complete(upload_id, part_ids=part_ids, md5=md5))

    def cancel(self, upload_id: str) -> Upload:
        """Cancel an upload."""
        return self._call(calls.uploads.cancel(upload_id))


class Jobs(_Namespace):
    """`client.jobs`: the API's operations one to one. For pipelines see `client.submit` and `client.wait`."""

    def create(self, spec: JobSpec) -> Job:
        """Create a job, without looking for an existing one and without marks to find it by."""
        self._account.offers.check(spec, service=self._account.service)
        return self._call(calls.jobs.create(spec.to_wire()))

    def list(self, *, metadata: Mapping[str, str] | None = None, limit: int | None = None) -> Iterator[Job]:
        """List jobs, newest first; `metadata` filters by these pairs (`{}`: jobs without metadata)."""
        pages = self._pages(lambda after: calls.jobs.listing(metadata=metadata, after=after, limit=limit))
        return (job for job in pages if _arguments.carries(job, metadata))

    def retrieve(self, job_id: str) -> Job:
        """Get a job."""
        return self._call(calls.jobs.retrieve(job_id))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job."""
        return self._call(calls.jobs.cancel(job_id))

    def pause(self, job_id: str) -> Job:
        """Pause a job."""
        self._account.offers.check_action("pause", service=self._account.service)
        return self._call(calls.jobs.pause(job_id))

    def resume(self, job_id: str) -> Job:
        """Resume a paused job."""
        self._account.offers.check_action("resume", service=self._account.service)
        return self._call(calls.jobs.resume(job_id))

    def events(self, job_id: str, *, limit: int | None = None) -> Iterator[Event]:
        """List a job's events, newest first."""
        return self._pages(lambda after: calls.jobs.events(job_id, after=after, limit=limit))

    def checkpoints(self, job_id: str, *, limit: int | None = None) -> Iterator[Checkpoint]:
        """List a job's checkpoints, newest first."""
        return self._pages(lambda after: calls.jobs.checkpoints(job_id, after=after, limit=limit))


class Models(_Namespace):
    """`client.models`."""

    def list(self) -> Iterator[Model]:
        """List all models."""
        models = self._call(calls.models.listing())
        yield from models.data

    def retrieve(self, model_id: str) -> Model:
        """Get a model's metadata."""
        return self._call(calls.models.retrieve(model_id))

    def delete(self, model_id: str) -> Deleted:
        """Delete a fine-tuned model."""
        return self._call(calls.models.delete(model_id))

    def memory(
        self, model_id: str, *, rows: int, longest_row: int, method: Mapping[str, Any] | None = None
    ) -> MemoryEstimate:
        """Ask a local service how much memory a training of this model would need.

        Args:
            model_id: The base model.
            rows: The number of examples.
            longest_row: The tokens of the longest one.
            method: The method with its hyperparameters, as in a job.
        """
        return self._call(calls.models.memory(model_id, rows=rows, longest_row=longest_row, method=method))


class Permissions(_Namespace):
    """`client.checkpoints.permissions`: which projects may use a checkpoint."""

    def create(self, checkpoint: str, *, project_ids: Sequence[str]) -> PermissionList:
        """Share a checkpoint with projects."""
        shared = self._call(calls.permissions.create(checkpoint, project_ids=project_ids))
        return shared.data

    def list(
        self, checkpoint: str, *, project_id: str | None = None, order: str | None = None, limit: int | None = None
    ) -> Iterator[Permission]:
        """List a checkpoint's permissions."""
        return self._pages(
            lambda after: calls.permissions.listing(
                checkpoint, after=after, limit=limit, order=order, project_id=project_id
            )
        )

    def delete(self, checkpoint: str, *, permission_id: str) -> Deleted:
        """Delete a permission."""
        return self._call(calls.permissions.delete(checkpoint, permission_id=permission_id))


class Checkpoints(_Namespace):
    """`client.checkpoints`."""

    def __init__(self, driver: Driver, account: Account) -> None:
        super().__init__(driver, account)
        self.permissions: Permissions = Permissions(driver, account)

    def list(self, job_id: str, *, limit: int | None = None) -> Iterator[Checkpoint]:
        """List a job's checkpoints, newest first."""
        return self._pages(lambda after: calls.jobs.checkpoints(job_id, after=after, limit=limit))


class Graders(_Namespace):
    """`client.graders`: try a grader before a job is paid for."""

    def validate(self, grader: Mapping[str, Any]) -> GraderValidation:
        """Ask the service whether a grader is valid."""
        return self._call(calls.graders.validate(_arguments.as_json(grader)))

    def run(
        self, grader: Mapping[str, Any], *, model_sample: str, item: Mapping[str, Any] | None = None
    ) -> GraderRun:
        """Run a grader on one sample."""
        return self._call(calls.graders.run(_arguments.as_json(grader), model_sample=model_sample, item=item))
