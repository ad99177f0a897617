"""`/files`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tuneway_service import sweeping
from tuneway_service.bodies import ExpiresAfter, check, known_purpose
from tuneway_service.ids import new_id
from tuneway_service.multipart import Received, receive
from tuneway_service.refusals import Refusal
from tuneway_service.replies import created, fingerprint, key_of, listed, order_of, service_of
from tuneway_service.store import files, replays

if TYPE_CHECKING:
    from starlette.requests import Request

    from tuneway_service.jsonl import RowCheck
    from tuneway_service.service import Service
    from tuneway_service.store.database import Connection

FILE_LIMIT = 512 * 2**20
FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


async def create(request: Request) -> Response:
    """`POST /files`: stream the content to disk, check it, record it."""
    service, key = service_of(request), key_of(request)
    async with receive(
        request, service.settings.scratch_dir, file_field="file", limit=FILE_LIMIT, stored=_stored
    ) as receiving:
        form = receiving.form
        purpose, expires_after = form_options(form)
        await refuse_bad_data(form.rows, purpose, form.filename or "")
        file_id = new_id("file-")
        place = service.settings.files_dir / file_id
        digest = form.digest.hexdigest()
        same = fingerprint(request, f"{purpose}\n{form.filename}\n{expires_after}\n{digest}")

        def act(connection: Connection) -> dict[str, Any]:
            sweeping.begin(service.settings, file_id)
            form.path.replace(place)
            return files.add(
                connection,
                id=file_id,
                filename=form.filename or "file",
                purpose=purpose,
                size=form.size,
                sha256=digest,
                expires_after=expires_after,
            )

        kept = False
        try:
            reply, replayed = await service.database.write(replays.once, key, same, act)
            kept = not replayed
        finally:
            if not kept:
                await anyio.to_thread.run_sync(drop_file, service, file_id)
        if kept:
            await anyio.to_thread.run_sync(service.created, "files", file_id)
        return created((reply, replayed))


def drop_file(service: Service, file_id: str) -> None:
    """Remove a content that the database has no record of, or no longer."""
    sweeping.remove_file(service.settings, file_id)
    sweeping.end(service.settings, file_id)


def _stored(form: Received) -> None:
    """Let the check of the rows begin, if the form says already what the file is for."""
    if form.fields.get("purpose") == "fine-tune":
        form.rows.grew(form.size)


def form_options(form: Received) -> tuple[str, int | None]:
    """The purpose and the expiry of a file, from the fields of the form."""
    for name in form.fields:
        if name not in FIELDS:
            raise unknown_field(name)
    if "purpose" not in form.fields:
        raise Refusal("Missing required parameter: 'purpose'.", param="purpose", code="missing_required_parameter")
    try:
        purpose = known_purpose(form.fields["purpose"])
    except ValueError as error:
        raise Refusal(f"Invalid value for 'purpose': {error}.", param="purpose", code="invalid_value") from None
    asked: dict[str, Any] = {
        name: form.fields[f"expires_after[{name}]"]
        for name in ("anchor", "seconds")
        if f"expires_after[{name}]" in form.fields
    }
    if not asked:
        return purpose, None
    seconds = asked.get("seconds", "")
    if seconds.isascii() and seconds.isdecimal():
        # more digits than this are out of range anyway
        asked["seconds"] = int(seconds[:20])
    return purpose, check(asked, ExpiresAfter, within="expires_after").seconds


def unknown_field(name: str) -> Refusal:
    """400 for a field of a form that isn't the API's."""
    shown = name[:100]
    text = f"Unknown parameter: '{shown}'."
    if shown == "expires_after":
        text += " In a form it is two fields: 'expires_after[anchor]' and 'expires_after[seconds]'."
    return Refusal(text, param=shown, code="unknown_parameter")


async def refuse_bad_data(rows: RowCheck, purpose: str, filename: str) -> None:
    """Refuse a training file that isn't JSONL."""
    if purpose != "fine-tune":
        return
    if not filename.endswith(".jsonl"):
        raise Refusal(
            f"Invalid extension for {filename[:100]!r}: files for fine-tuning are '.jsonl'.",
            param="file",
            code="invalid_file_extension",
        )
    problem = await anyio.to_thread.run_sync(rows.problem)
    if problem is not None:
        raise Refusal(problem, param="file", code="invalid_jsonl")


async def list_(request: Request) -> Response:
    """`GET /files`."""
    purpose, newest_first = request.query_params.get("purpose"), order_of(request)
    return await listed(
        request,
        files.rows,
        files.show,
        default=10_000,
        most=10_000,
        also=("purpose", "order"),
        purpose=purpose,
        newest_first=newest_first,
    )


async def retrieve(request: Request) -> Response:
    """`GET /files/{file_id}`."""
    return JSONResponse(await service_of(request).database.read(files.get, request.path_params["file_id"]))


async def content(request: Request) -> Response:
    """`GET /files/{file_id}/content`, streamed."""
    service = service_of(request)
    file = await service.database.read(files.get, request.path_params["file_id"])
    place = service.settings.files_dir / file["id"]
    return FileResponse(
        place, media_type="application/octet-stream", filename=file["filename"], content_disposition_type="attachment"
    )


async def delete(request: Request) -> Response:
    """`DELETE /files/{file_id}`."""
    service, file_id = service_of(request), request.path_params["file_id"]
    await service.database.write(files.delete, file_id)
    await anyio.to_thread.run_sync(drop_file, service, file_id)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})


routes = [
    Route("/files", create, methods=["POST"]),
    Route("/files", list_),
    Route("/files/{file_id}", retrieve),
    Route("/files/{file_id}", delete, methods=["DELETE"]),
    Route("/files/{file_id}/content", content),
]
