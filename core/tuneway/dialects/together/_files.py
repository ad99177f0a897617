"""Together's uploads: a signed address for the bytes, on another host, and a check of the data by the service.

POST /files with the checksum ──302──▶ PUT the bytes ──▶ POST /files/ID/preprocess ──▶ GET /files/ID …
└──409, the id of a file with these bytes──────────────▲
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tuneway import progress
from tuneway._escape import one_line
from tuneway.calls import Call, FilePart, Form, Request, Response, Source, files, segment
from tuneway.errors import ApiError, BadReply, BadRequest, InvalidSpec, ServerError, SubmitUncertain, TunewayError
from tuneway.flows import Account, Flow, Notify, OpenAIFiles, Sleep, name_with_hash, now, request
from tuneway.flows.upload import find
from tuneway.models import File

MAX_SENDS = 3
PATIENCE = 3600.0
"""Seconds that the service may take to check a file."""

FIRST = 0.1
SLOWEST = 15.0
"""The first and the longest pause between two looks at a file that is being checked, in seconds."""

FILE_LIMIT = 5 * 1024**3
EVERY_REFUSAL = frozenset(range(300, 600))
FILE_ID = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
QUOTED = re.compile(r"""(["'`])(?:(?!\1).){17,}\1""", re.DOTALL)
DELETE_IT = 'Correct the data. The service keeps the file that it refused: `client.files.delete("{}")` removes it.'


@dataclass(frozen=True)
class _Grant:
    """The permission to send the bytes of a new file."""

    file_id: str
    address: str


class _Expired(BadRequest):
    """The signed address isn't valid any more."""


class SignedFiles(OpenAIFiles):
    """Uploads by signed addresses. The service knows the bytes of each file, and takes them once."""

    def upload(
        self,
        account: Account,
        source: Source,
        *,
        name: str,
        sha256: str,
        purpose: str,
        expires_after: int | None,
    ) -> Flow[File]:
        """Find a file with this data on the service, or send it; gives it when the service has checked it."""
        if expires_after is not None:
            raise InvalidSpec("expires_after: together keeps files until they are deleted", field="expires_after")
        if source.size > account.file_limit:
            raise InvalidSpec(
                f"training_data: {source.size:,} bytes are more than the {account.file_limit:,} of one upload",
                field="training_data",
            )
        found = yield from find(account, sha256, size=source.size, purpose=purpose)
        if found is not None:
            found = yield from _checked(account, found)
            yield Notify(progress.FileReused(found))
            return found
        name = name_with_hash(name if name.endswith(".jsonl") else f"{name}.jsonl", sha256)
        file_id, sent = yield from _send(account, source, name=name, sha256=sha256, purpose=purpose)
        asked = _preprocess(file_id) if sent else files.retrieve(file_id)
        file = yield from _checked(account, (yield from request(account, asked)))
        yield Notify(progress.FileUploaded(file) if sent else progress.FileReused(file))
        return file


def _send(account: Account, source: Source, *, name: str, sha256: str, purpose: str) -> Flow[tuple[str, bool]]:
    """Send the bytes, unless the service has them; gives the file's id, and whether they were sent."""
    begin = _begin(name, sha256=sha256, purpose=purpose)
    last: TunewayError | None = None
    for _ in range(MAX_SENDS):
        grant = yield from request(account, begin)
        if isinstance(grant, str):
            return grant, False
        try:
            yield from request(account, _put(grant, source))
        except _Expired as error:
            last = error
        else:
            return grant.file_id, True
    assert last is not None
    raise last


def _begin(name: str, *, sha256: str, purpose: str) -> Call[_Grant | str]:
    """Ask where to send a file. Nothing is kept until its bytes are there, so asking twice does no harm."""
    fields = (("purpose", purpose), ("file_name", name), ("file_type", "jsonl"), ("checksum", sha256))
    return Call(Request("POST", "/files", form=Form(fields), answers=frozenset({302, 409})), _grant)


def _grant(response: Response) -> _Grant | str:
    """The permission to send, or the id of the file that has these bytes already."""
    address, file_id = response.headers.get("location"), response.headers.get("x-together-file-id", "")
    if response.status == 409:
        file_id = _id_in(response)
        if FILE_ID.fullmatch(file_id):
            return file_id
    elif response.status == 302 and address and FILE_ID.fullmatch(file_id):
        return _Grant(file_id, address)
    raise BadReply(
        "together gave no address for the file, and no id of one that exists",
        status=response.status,
        request_id=response.request_id,
    )


def _id_in(response: Response) -> str:
    try:
        raw = json.loads(response.content)
    except (ValueError, RecursionError):
        return ""
    file_id = raw.get("file_id") if isinstance(raw, dict) else None
    return file_id if isinstance(file_id, str) else ""


def _put(grant: _Grant, source: Source) -> Call[None]:
    """Send the bytes. Its path names it in errors; the address, which is as good as a key, never appears there."""
    path = f"/files/{segment(grant.file_id)}"
    part = FilePart("file", grant.file_id, source)
    return Call(Request("PUT", path, address=grant.address, content=part, answers=EVERY_REFUSAL), _stored)


def _stored(response: Response) -> None:
    """Read the store's answer. Its text isn't quoted: stores repeat what was signed."""
    status = response.status
    if 200 <= status < 300:
        return
    kind: type[ApiError] = BadRequest
    if status in (401, 403, 404, 410):
        kind = _Expired
    elif status in (408, 429) or status >= 500:
        kind = ServerError
    error = kind(f"the file store refused the data with status {status}", status=status)
    error.processed = False
    raise error


def _checked(account: Account, file: File) -> Flow[File]:
    """Let the service check a file, and wait for the result."""
    file_id = file.id
    if _status(file) == "PENDING":  # nobody has asked for the check, or the request was lost
        file = yield from request(account, _preprocess(file_id))
    deadline, pause = (yield from now()) + PATIENCE, min(FIRST, account.poll.minimum)
    while _status(file) in ("PENDING", "QUEUED", "RUNNING"):
        if (yield from now()) >= deadline:
            raise SubmitUncertain(
                f"together has checked the file {file_id} for {PATIENCE / 60:.0f} minutes, without a result",
                hint="Try again: the next attempt finds the file, and waits for the check.",
            )
        yield Sleep(pause)
        pause = min(pause * 2, SLOWEST)
        file = yield from request(account, files.retrieve(file_id))
    if file.status == "error":
        why = f": {_without_rows(file.status_details)}" if file.status_details else ""
        raise BadRequest(f"together refused the file {file_id} ({_status(file)}){why}", hint=DELETE_IT.format(file_id))
    return file


def _without_rows(report: str) -> str:
    """What the service says of the data, without the longer texts that it quotes: they may be parts of rows."""
    return one_line(QUOTED.sub(r"\1…\1", report), 300)


def _preprocess(file_id: str) -> Call[File]:
    return Call(Request("POST", f"/files/{segment(file_id)}/preprocess"), files.retrieve(file_id).parse)


def _status(file: File) -> str | None:
    status = (file.model_extra or {}).get("processing_status")
    return status if isinstance(status, str) else None
