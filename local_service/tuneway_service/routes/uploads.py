"""`/uploads`: large files in parts."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tuneway_service import sweeping
from tuneway_service.bodies import CompleteUpload, CreateUpload, parse
from tuneway_service.ids import new_id
from tuneway_service.jsonl import RowCheck
from tuneway_service.multipart import receive
from tuneway_service.refusals import Refusal
from tuneway_service.replies import body_fingerprint, created, key_of, service_of
from tuneway_service.routes.files import drop_file, refuse_bad_data, unknown_field
from tuneway_service.store import files, replays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from tuneway_service.service import Service

PART_LIMIT = 64 * 2**20
CHUNK = 1 << 20


async def create(request: Request) -> Response:
    """`POST /uploads`."""
    asked = await parse(request, CreateUpload)
    same = body_fingerprint(request, asked)
    reply = await service_of(request).database.write(
        replays.once,
        key_of(request),
        same,
        lambda connection: files.add_upload(
            connection,
            filename=asked.filename,
            purpose=asked.purpose,
            size=asked.bytes,
            file_expires_after=asked.expires_after.seconds if asked.expires_after else None,
        ),
    )
    return created(reply)


async def add_part(request: Request) -> Response:
    """`POST /uploads/{upload_id}/parts`."""
    service = service_of(request)
    upload = await service.database.read(files.pending_upload, request.path_params["upload_id"])
    async with receive(request, service.settings.scratch_dir, file_field="data", limit=PART_LIMIT) as receiving:
        for name in receiving.form.fields:
            raise unknown_field(name)
        part_id = new_id("part_")
        folder = service.settings.uploads_dir / upload["id"]
        await anyio.to_thread.run_sync(_put, receiving.form.path, folder, part_id)
        part = await service.database.write(files.add_part, upload["id"], part_id, receiving.form.size)
    return JSONResponse(part)


def _put(source: Path, folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    source.replace(folder / name)


async def complete(request: Request) -> Response:
    """`POST /uploads/{upload_id}/complete`: join the parts in the order of the request."""
    service, asked, upload_id = (
        service_of(request),
        await parse(request, CompleteUpload),
        request.path_params["upload_id"],
    )
    key, same = key_of(request), body_fingerprint(request, asked)
    before = await service.database.read(replays.earlier, key, same)
    if before is not None:
        return created((before, True))
    upload = await service.database.read(files.ordered_parts, upload_id, asked.part_ids)
    parts = service.settings.uploads_dir / upload["id"]
    scratch = service.settings.scratch_dir / new_id("scratch_")
    file_id = new_id("file-")
    rows = RowCheck(scratch)
    try:
        stored = rows.grew if upload["purpose"] == "fine-tune" else lambda _: None
        digest = await anyio.to_thread.run_sync(_join, parts, asked.part_ids, scratch, asked.md5, stored)
        await refuse_bad_data(rows, upload["purpose"], upload["filename"])
        await anyio.to_thread.run_sync(_place, service, scratch, file_id)
        file = {"id": file_id, "size": upload["bytes"], "sha256": digest}
        reply, replayed = await service.database.write(
            replays.once, key, same, lambda connection: files.complete_upload(connection, upload_id, file)
        )
    except BaseException:
        await anyio.to_thread.run_sync(lambda: scratch.unlink(missing_ok=True))
        await anyio.to_thread.run_sync(drop_file, service, file_id)
        raise
    finally:
        await anyio.to_thread.run_sync(rows.close)
    if replayed:
        await anyio.to_thread.run_sync(drop_file, service, file_id)
    else:
        await anyio.to_thread.run_sync(service.created, "files", file_id)
    await anyio.to_thread.run_sync(lambda: shutil.rmtree(parts, ignore_errors=True))
    return created((reply, replayed))


def _place(service: Service, scratch: Path, file_id: str) -> None:
    sweeping.begin(service.settings, file_id)
    scratch.replace(service.settings.files_dir / file_id)


def _join(parts: Path, part_ids: Sequence[str], target: Path, md5: str | None, stored: Callable[[int], None]) -> str:
    """Join the parts into one file, and report the progress; returns its SHA-256, and refuses a wrong MD5."""
    digest, check = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with target.open("xb") as whole:
        for part_id in part_ids:
            with (parts / part_id).open("rb") as part:
                while chunk := part.read(CHUNK):
                    digest.update(chunk)
                    if md5 is not None:
                        check.update(chunk)
                    whole.write(chunk)
                whole.flush()
                stored(whole.tell())
        whole.flush()
        os.fsync(whole.fileno())
    if md5 is not None and check.hexdigest() != md5.lower():
        raise Refusal(
            f"The parts have MD5 {check.hexdigest()}, but {md5.lower()} was announced.",
            param="md5",
            code="md5_mismatch",
        )
    return digest.hexdigest()


async def cancel(request: Request) -> Response:
    """`POST /uploads/{upload_id}/cancel`."""
    service = service_of(request)
    reply: dict[str, Any] = await service.database.write(files.cancel_upload, request.path_params["upload_id"])
    parts = service.settings.uploads_dir / reply["id"]
    await anyio.to_thread.run_sync(lambda: shutil.rmtree(parts, ignore_errors=True))
    return JSONResponse(reply)


routes = [
    Route("/uploads", create, methods=["POST"]),
    Route("/uploads/{upload_id}/parts", add_part, methods=["POST"]),
    Route("/uploads/{upload_id}/complete", complete, methods=["POST"]),
    Route("/uploads/{upload_id}/cancel", cancel, methods=["POST"]),
]
