"""Files as Fireworks' datasets, whose ids are the hashes of their bytes: so each is there once, whoever sends it.

    create ──▶ upload ──▶ wait until it is ready

A create of what is there already is refused with 409, which is as good as a success. An upload that was killed leaves
a dataset without data; the next one uploads to it again. So each step can be sent again, and nothing has to be listed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from tuneway import calls, progress
from tuneway.calls import Call, FilePart, Form, Request, Response, Source
from tuneway.calls._http import reading
from tuneway.dialects.fireworks._resources import Resources, dataset_id, hash_of
from tuneway.errors import BadReply, BadRequest, Conflict, InvalidSpec, NotFound, SubmitUncertain
from tuneway.flows import Account, Flow, notify, request, sleep, work
from tuneway.models import File
from tuneway.models._wire import WireModel

LARGEST_UPLOAD = 150 * 1000**2
"""The most bytes that one form may have; larger files are sent to a signed address."""

PIECE = 1024 * 1024
LONGEST_NAME = 63
PATIENCE = 1800.0
LONGEST_PAUSE = 15.0
KIND = "application/octet-stream"
_TAKEN = frozenset({409})


class _Endpoint(WireModel):
    """Where a large file is to be sent."""

    filenameToSignedUrls: dict[str, str]  # noqa: N815 - as Fireworks writes it


@dataclass(frozen=True, slots=True)
class Datasets:
    """The datasets of one account."""

    resources: Resources

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
        """Find the dataset with this data, or send it, and wait until it is ready."""
        del purpose
        if expires_after is not None:
            raise InvalidSpec("expires_after: fireworks keeps datasets until they are deleted", field="expires_after")
        file_id = dataset_id(sha256)
        there = yield from self._find(account, file_id)
        if there is None and not (yield from self._create(account, source, name, file_id)):
            there = yield from self._find(account, file_id)  # another process was faster
        if there is not None and there.status == "processed":
            yield from notify(progress.FileReused(there))
            return there
        try:
            yield from self._send(account, source, file_id)
        except (BadRequest, Conflict):
            there = yield from self._find(account, file_id)
            if there is None or there.status != "processed":
                raise
        file = yield from self._wait(account, file_id)
        yield from notify(progress.FileUploaded(file))
        return file

    def identity(self, account: Account, file_id: str) -> Flow[str]:
        """Identify a dataset by the hash in its id, or else by its id."""
        del account
        sha256 = hash_of(self.resources.file_id(file_id))
        return f"sha256:{sha256}" if sha256 else f"file:{file_id}"
        yield

    def _find(self, account: Account, file_id: str) -> Flow[File | None]:
        try:
            return (yield from request(account, calls.files.retrieve(file_id)))
        except NotFound:
            return None

    def _create(self, account: Account, source: Source, name: str, file_id: str) -> Flow[bool]:
        """Create a dataset without data; gives whether there was none with this id."""
        facts = yield from work(lambda _listener: _survey(source))
        dataset = {"displayName": name[-LONGEST_NAME:], "userUploaded": {}, **facts}
        body = {"datasetId": file_id, "dataset": dataset}
        made = Request("POST", f"{self.resources.root}/datasets", json=body, answers=_TAKEN)
        response = yield from request(account, Call(made, _ignored))
        return response.status not in _TAKEN

    def _send(self, account: Account, source: Source, file_id: str) -> Flow[None]:
        path, filename = f"{self.resources.root}/datasets/{file_id}", f"{file_id}.jsonl"
        if source.size <= LARGEST_UPLOAD:
            form = Form((), FilePart("file", filename, source))
            yield from request(account, Call(Request("POST", f"{path}:upload", form=form), _ignored))
            return
        sizes = {"filenameToSize": {filename: str(source.size)}}
        asked = Request("POST", f"{path}:getUploadEndpoint", json=sizes)
        endpoint = yield from request(account, Call(asked, reading(_Endpoint)))
        address = endpoint.filenameToSignedUrls.get(filename, "")
        if not urlsplit(address).hostname:
            raise BadReply("fireworks named no address for the upload of a large file")
        # both headers are signed with the address
        headers = {"content-type": KIND, "x-goog-content-length-range": f"{source.size},{source.size}"}
        put = Request(
            "PUT", f"the upload of {file_id}", address=address, content=FilePart("", filename, source), headers=headers
        )
        yield from request(account, Call(put, _ignored))
        yield from request(account, Call(Request("POST", f"{path}:validateUpload", json={}), _ignored))

    def _wait(self, account: Account, file_id: str) -> Flow[File]:
        waited, pause = 0.0, 0.25
        while True:
            file = yield from request(account, calls.files.retrieve(file_id))
            if file.status == "processed":
                return file
            if file.status == "error":
                raise BadRequest(f"fireworks refuses the data of {file_id}: {file.status_details}")
            if waited >= PATIENCE:
                raise SubmitUncertain(
                    f"the dataset {file_id} isn't ready {PATIENCE:g} s after it was sent",
                    hint="Try again: data that is ready by then isn't sent again.",
                )
            yield from sleep(pause)
            waited += pause
            pause = min(2 * pause, LONGEST_PAUSE)


def _survey(source: Source) -> Mapping[str, Any]:
    """Count the rows, and recognise the format by the first one. Of preferences and others, Fireworks has no format."""
    rows, first = 0, b""
    with source.open() as file, io.BufferedReader(cast("io.RawIOBase", file), PIECE) as lines:
        for line in lines:
            if line.strip():
                first = first or line
                rows += 1
    kind = "CHAT" if b'"messages"' in first else "COMPLETION" if b'"prompt"' in first else None
    return {"exampleCount": str(rows), **({"format": kind} if kind else {})}


def _ignored(response: Response) -> Response:
    return response
