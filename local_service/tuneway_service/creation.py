"""Create a job: its folder is complete before the database has a record of it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from tuneway.models import Reinforcement
from tuneway_service import sweeping
from tuneway_service.folder import JobFolder, link
from tuneway_service.ids import new_id
from tuneway_service.refusals import Refusal
from tuneway_service.store import files, jobs, replays
from tuneway_service.store.records import JobBody

if TYPE_CHECKING:
    from tuneway_service.bodies import CreateJob
    from tuneway_service.service import Service
    from tuneway_service.store.database import Connection


async def create_job(
    service: Service, asked: CreateJob, *, key: str | None, fingerprint: str
) -> tuple[dict[str, Any], bool]:
    """Create a job; returns it, and whether an earlier request with the same key created it."""
    before = await service.database.read(replays.earlier, key, fingerprint)
    if before is not None:
        return before, True
    trainer, base = await service.database.read(_look, service, asked)
    body = job_body(asked)
    service.catalogue.vet_gpus(trainer, asked.gpus)
    await anyio.to_thread.run_sync(service.catalogue.vet, trainer, body.method_name, body.requested)
    if isinstance(asked.method, Reinforcement):
        await anyio.to_thread.run_sync(service.catalogue.vet_reinforcement, asked.method, limiter=service.grading)
    job_id = jobs.fresh_id()
    folder = service.settings.jobs_dir / job_id
    kept = False
    try:
        await anyio.to_thread.run_sync(_lay_out, service, JobFolder(folder), asked, base)
        reply, replayed = await service.database.write(
            replays.once,
            key,
            fingerprint,
            lambda connection: jobs.create(connection, id=job_id, trainer=trainer, body=body),
        )
        kept = not replayed
    finally:
        if not kept:
            await anyio.to_thread.run_sync(_drop, service, job_id)
    if kept:
        await anyio.to_thread.run_sync(service.created, "jobs", job_id)
    service.supervisor.wake()
    return reply, replayed


def job_body(asked: CreateJob) -> JobBody:
    """What is stored of the request, with defaults filled in."""
    integrations = [item.model_dump(mode="json", exclude_none=True) for item in asked.integrations or ()]
    for item in integrations:
        item["wandb"]["run_id"] = new_id("run_").removeprefix("run_")[:8].lower()
    return JobBody(
        model=asked.model,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        method=asked.settled_method(),
        seed=asked.seed if asked.seed is not None else random.randrange(2**31),  # noqa: S311 - no secret
        suffix=asked.suffix,
        metadata=asked.metadata,
        integrations=integrations,
        gpus=asked.gpus,
    )


def _look(connection: Connection, service: Service, asked: CreateJob) -> tuple[str, Path | None]:
    """Refuse files and models that don't exist; returns the trainer's name, and the exported model to start from."""
    for param in ("training_file", "validation_file"):
        file_id = getattr(asked, param)
        if file_id is None:
            continue
        row = files.find(connection, file_id)
        if row is None:
            raise _no_file(param, file_id)
        if row["purpose"] != "fine-tune":
            raise Refusal(
                f"invalid {param}: {file_id} has purpose {row['purpose']!r}, but 'fine-tune' is needed",
                param=param,
                code="invalid_file_purpose",
            )
    return service.catalogue.find(connection, asked.model)


def _no_file(param: str, file_id: str) -> Refusal:
    return Refusal(f"invalid {param}: {file_id[:100]} does not exist", param=param, code="invalid_file")


def _lay_out(service: Service, folder: JobFolder, asked: CreateJob, base: Path | None) -> None:
    """Create the job's folder with links to all that it needs, so that deleting a file or a model doesn't harm it."""
    sweeping.begin(service.settings, folder.path.name)
    folder.path.mkdir(parents=True)
    for param, place in (("training_file", folder.training), ("validation_file", folder.validation)):
        file_id = getattr(asked, param)
        if file_id is not None:
            try:
                link(service.settings.files_dir / file_id, place)
            except FileNotFoundError:
                raise _no_file(param, file_id) from None
    if base is not None:
        try:
            shutil.copytree(base, folder.base, copy_function=link)
        except (FileNotFoundError, shutil.Error):
            raise service.catalogue.unavailable(asked.model) from None


def _drop(service: Service, job_id: str) -> None:
    shutil.rmtree(service.settings.jobs_dir / job_id, ignore_errors=True)
    sweeping.end(service.settings, job_id)
