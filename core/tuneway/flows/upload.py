"""Upload each file once. Its hash is part of its name, and the service's list shows whether it is there.

A dialect may bring another way to do so: a `FileStore`. This is OpenAI's:

As with jobs, the list is read before the file is sent, and again after an unclear reply. A second copy costs no money,
so two processes that race need not agree: the next one to read the list takes the oldest copy.
"""

from __future__ import annotations

from tuneway import calls, progress
from tuneway.calls import Call, Source
from tuneway.errors import BadRequest, LookupFailed, SubmitUncertain, TunewayError
from tuneway.flows._account import Account, FileStore
from tuneway.flows._effects import Flow, notify, now
from tuneway.flows._file_names import hash_in, name_with_hash
from tuneway.flows._paging import Pager
from tuneway.flows._request import request, settling, unreadable
from tuneway.models import File, Upload

MAX_SENDS = 3
MIN_LIFETIME = 3600.0
"""A file on the service is used again only if it lasts at least this many seconds."""


def upload(
    account: Account,
    source: Source,
    *,
    name: str,
    sha256: str,
    purpose: str = "fine-tune",
    expires_after: int | None = None,
) -> Flow[File]:
    """Find a file with this data on the service, or send it, in the way of the service.

    Args:
        account: The account to send requests with.
        source: The data. If it is a file that has changed since it was read, it isn't sent.
        name: A file name, which is sent to the service, with the hash in it.
        sha256: The hash of the data.
        purpose: The purpose that is sent to the service.
        expires_after: The number of seconds after which the service deletes it.
    """
    return (
        yield from files_of(account).upload(
            account, source, name=name, sha256=sha256, purpose=purpose, expires_after=expires_after
        )
    )


class OpenAIFiles:
    """OpenAI's way: a form, or parts of a large file. The hash is in the file's name, which the service lists."""

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
        """Find a file with this data on the service, or send it."""
        size = source.size
        name = name_with_hash(name, sha256)
        found = yield from find(account, sha256, size=size, purpose=purpose)
        if found is not None:
            yield from notify(progress.FileReused(found))
            return found
        commit: Call[File | Upload]
        if size <= account.file_limit:
            commit = calls.files.create(source, filename=name, purpose=purpose, expires_after=expires_after)
        else:
            commit = yield from _send_parts(account, source, name, purpose=purpose, expires_after=expires_after)
        file = yield from _commit(account, commit, sha256, size=size, purpose=purpose)
        yield from notify(progress.FileUploaded(file))
        return file

    def identity(self, account: Account, file_id: str) -> Flow[str]:
        """Identify an uploaded file by the hash in its name, or else by its id."""
        file = yield from request(account, calls.files.retrieve(file_id))
        sha256 = hash_in(file.filename)
        return f"sha256:{sha256}" if sha256 else f"file:{file_id}"


OPENAI_FILES = OpenAIFiles()


def files_of(account: Account) -> FileStore:
    """How the service of an account takes files."""
    return account.files or OPENAI_FILES


def find(account: Account, sha256: str, *, size: int, purpose: str) -> Flow[File | None]:
    """Find the oldest usable file with this data.

    Raises:
        LookupFailed: The list can't be read to its end.
    """
    pager = Pager(account, lambda after: calls.files.listing(purpose=purpose, after=after, limit=10_000))
    soon = (yield from now()) + MIN_LIFETIME
    found: list[File] = []
    while not pager.done:
        if pager.pages == account.lookup_pages:
            raise LookupFailed(f"more than {pager.pages} pages of files", hint="Raise `lookup_pages`.", retryable=False)
        try:
            page = yield from pager.next()
        except TunewayError as error:
            raise unreadable("whether the service has this file, so it wasn't sent", error) from error
        found += (file for file in page if hash_in(file.filename) == sha256 and _usable(file, size, purpose, soon))
    if not found and pager.stuck:
        raise LookupFailed(
            "the service says that there are more files, but doesn't list them",
            hint="Nothing was sent, because the list of files can't be read to its end.",
            retryable=False,
        )
    return min(found, key=lambda file: (file.created_at or 0, file.id), default=None)


def _usable(file: File, size: int, purpose: str, soon: float) -> bool:
    return (
        file.status not in ("error", "deleted")
        and file.purpose in (None, purpose)
        and file.bytes in (None, size)
        and (file.expires_at is None or file.expires_at > soon)
    )


def _send_parts(
    account: Account, source: Source, name: str, *, purpose: str, expires_after: int | None
) -> Flow[Call[File | Upload]]:
    """Send all parts; gives the call that completes the upload. One that is never completed expires at no cost."""
    size = source.size
    begun = calls.uploads.create(filename=name, size=size, purpose=purpose, expires_after=expires_after)
    begin = yield from request(account, begun)
    parts = []
    for offset in range(0, size, account.part_size):
        length = min(account.part_size, size - offset)
        part = yield from request(account, calls.uploads.add_part(begin.id, source, offset=offset, length=length))
        parts.append(part.id)
    return calls.uploads.complete(begin.id, part_ids=parts)


def _commit(account: Account, commit: Call[File | Upload], sha256: str, *, size: int, purpose: str) -> Flow[File]:
    unclear: TunewayError | None = None
    for _ in range(MAX_SENDS):
        try:
            done = yield from request(account, commit)
        except TunewayError as error:
            completed_after_all = isinstance(error, BadRequest) and unclear is not None
            if error.processed is False and not completed_after_all:
                raise
            unclear = error
        else:
            file = done if isinstance(done, File) else done.file
            if file is not None:
                return file
        file = yield from settling(account, lambda: find(account, sha256, size=size, purpose=purpose))
        if file is not None:
            return file
    raise SubmitUncertain(
        f"the file was sent {MAX_SENDS} times, and not listed within {account.settle_window:g} s: {unclear}",
        hint="Try again: the next attempt lists files first.",
    )
