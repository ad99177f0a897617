"""A file is sent once: its hash rides in its name, and the service's list says whether it is there.

As with jobs, nothing is sent before a look, and a reply that doesn't tell is followed by a look rather
than by sending it again. A second copy would cost no money, so there is no race to resolve: whoever
looks next takes the oldest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tuneway import calls, progress
from tuneway.calls import Call, Source
from tuneway.errors import BadRequest, LookupFailed, SubmitUncertain, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow, now, tell
from tuneway.flows._identity import hash_in, name_with_hash
from tuneway.flows._paging import Pager
from tuneway.flows._request import request, settling, unreadable
from tuneway.models import File, Upload

SENDS = 3
LIFE_LEFT = 3600.0
"""A file that expires sooner than this (seconds) isn't worth finding again."""


class Facts(Protocol):
    """What a check found out about a file in passing."""

    @property
    def sha256(self) -> str:
        """The hash of all its bytes."""

    @property
    def size_bytes(self) -> int:
        """How many they are."""

    @property
    def modified_ns(self) -> int | None:
        """When the file was last written, if that is known: one that has changed since isn't sent."""


def upload(
    account: Account,
    path: Path,
    facts: Facts,
    *,
    purpose: str = "fine-tune",
    expires_after: int | None = None,
) -> Flow[File]:
    """Have this data on the service: find it there, or send it.

    Args:
        account: Whom to ask.
        path: The file.
        facts: What a check found out about it. A file that was written since is not sent.
        purpose: What the service is told that it is for.
        expires_after: Seconds after which the service deletes it.
    """
    sha256, size = facts.sha256, facts.size_bytes
    name = name_with_hash(path.name, sha256)
    found = yield from find(account, sha256, size=size, purpose=purpose)
    if found is not None:
        yield from tell(progress.FileReused(found))
        return found
    source = Source(path, size=size, modified_ns=facts.modified_ns)
    commit: Call[File | Upload]
    if size <= account.file_limit:
        commit = calls.files.create(source, filename=name, purpose=purpose, expires_after=expires_after)
    else:
        commit = yield from _send_parts(account, source, name, purpose=purpose, expires_after=expires_after)
    file = yield from _commit(account, commit, sha256, size=size, purpose=purpose)
    yield from tell(progress.FileUploaded(file))
    return file


def find(account: Account, sha256: str, *, size: int, purpose: str) -> Flow[File | None]:
    """The oldest usable file with this data; fails closed."""
    pager = Pager(account, lambda after: calls.files.listing(purpose=purpose, after=after, limit=10_000))
    soon = (yield from now()) + LIFE_LEFT
    found: list[File] = []
    while not pager.done:
        if pager.pages == account.lookup_pages:
            raise LookupFailed(f"more than {pager.pages} pages of files", hint="Raise `lookup_pages`.", retryable=False)
        try:
            page = yield from pager.next()
        except TunewayError as error:
            raise unreadable("whether this file is there already, so it isn't sent", error) from error
        found += (file for file in page if hash_in(file.filename) == sha256 and _usable(file, size, purpose, soon))
    if not found and pager.stuck:
        raise LookupFailed(
            "the service says that there are more files, and doesn't list them",
            hint="Nothing was sent: this service's list of files can't be read to its end.",
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
    """Send everything but the last word; what never gets its last word expires at no cost."""
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
    for _ in range(SENDS):
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
        f"a file was sent {SENDS} times and never showed within {account.settle_window:g} s: {unclear}",
        hint="Try again: the next try looks first.",
    )
