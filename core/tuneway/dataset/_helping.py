"""What a helper does: see `tuneway.dataset._helpers`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import IO, TYPE_CHECKING
from zlib import crc32

from tuneway.dataset._blocks import FileBlock
from tuneway.dataset._checking import LineCheck
from tuneway.dataset._seen import Seen
from tuneway.errors import TunewayError

if TYPE_CHECKING:
    from tuneway.dataset._helpers import HelperJob, LinesToCheck


def main(connection: int, file: int, spool: int) -> None:
    """Do what the process at the other end of the connection asks for, until that process or the connection ends."""
    with contextlib.suppress(EOFError, OSError), Connection(connection) as parent, open(spool, "wb") as seen:
        try:
            help_parent(parent, file, seen)
        except TunewayError as error:
            parent.send(error)


def help_parent(parent: Connection, file: int, spool: IO[bytes]) -> None:
    """Report that this helper is ready, then check blocks of lines; at the end, send what was found in them."""
    parent.send(None)
    job: HelperJob = parent.recv()
    check = LineCheck(job.plan, total_bytes=job.total_bytes, digest=crc32, threads=False)
    seen = Seen(_unread, spool=spool)
    lines: LinesToCheck
    while (lines := parent.recv()) is not None:
        before = check.rows
        data = b"".join(_pieces(file, lines.offset, lines.offset + lines.size))
        for chunk in FileBlock(lines.number, lines.offset, lines.size, data).chunks():
            for rows in check.check(chunk):
                seen.add(*rows)
        parent.send(check.rows - before)
    parent.send((check.found(), seen.part()))


def _pieces(file: int, start: int, stop: int) -> Iterator[bytes]:
    """Read without moving the place at which other processes read this open file."""
    while start < stop and (piece := os.pread(file, stop - start, start)):
        start += len(piece)
        yield piece


def _unread(_: int) -> bytes:
    raise AssertionError("only the parent compares rows")
