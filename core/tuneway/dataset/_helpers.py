"""Check a large file with several processes: helpers check blocks of its lines, and this process the others.

A helper is this Python again, started anew: nothing is forked, and no program is imported a second time, as
`multiprocessing` does. It reads the same open file, and ends when the connection to it does, however this process ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tuneway.data import temporary_file
from tuneway.dataset._checking import Found
from tuneway.dataset._seen import SeenPart
from tuneway.errors import TunewayError

if TYPE_CHECKING:
    from typing import Self

    from tuneway.dataset._blocks import FileBlock
    from tuneway.dataset._plan import Plan

_QUEUED = 8  # one block is checked, and some wait, so that there is work while this process does something else

# The path is set before anything is imported; -P keeps the working folder out of it until then.
_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tuneway.dataset._helping import main
main(*map(int, sys.argv[2:]))
"""


class HelperJob(NamedTuple):
    """What a helper has to know. The plan says which format the file has."""

    plan: Plan
    total_bytes: int | None


class LinesToCheck(NamedTuple):
    """Some whole lines of the file: the number of the first, where they start, and how many bytes they are."""

    number: int
    offset: int
    size: int


class Helpers:
    """Helpers that check blocks of an open file; a context manager, at whose end there are none left.

    Args:
        count: How many.
        descriptor: The open file.
    """

    def __init__(self, count: int, descriptor: int) -> None:
        self._count = count
        self._descriptor = descriptor
        self._helpers: list[_Helper] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.push(self)
            with suppress(OSError):  # the system allows no more processes: those that there are do the work
                for _ in range(self._count):
                    self._helpers.append(_Helper(self._descriptor))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.stop()

    def give(self, block: FileBlock, job: Callable[[], HelperJob]) -> bool:
        """Give a block to a helper that has time for it; says whether there is one."""
        free = [helper for helper in self._helpers if helper.ready and helper.waiting < _QUEUED]
        if not free:
            return False
        helper = min(free, key=lambda one: one.waiting)
        if not helper.has_job:
            helper.send(job())
            helper.has_job = True
        helper.send(LinesToCheck(block.number, block.offset, block.size))
        helper.waiting += 1
        return True

    def checked(self) -> int:
        """How many rows helpers have checked since the last call. Also notes which helpers are ready."""
        rows = 0
        while heard := [one for one in self._helpers if (one.waiting or not one.ready) and one.connection.poll()]:
            for helper in heard:
                if helper.ready:
                    rows += helper.receive()
                    helper.waiting -= 1
                else:
                    self._greet(helper)
        return rows

    def found(self) -> Iterator[tuple[Found, SeenPart, IO[bytes]]]:
        """Wait until they have checked all; gives what they found, and the rows that they saw, partly in a file."""
        workers = [helper for helper in self._helpers if helper.has_job]
        for helper in workers:
            helper.send(None)
        for helper in workers:
            for _ in range(helper.waiting):
                helper.receive()
            found, seen = helper.receive()
            yield found, seen, os.fdopen(os.dup(helper.spool.fileno()), "rb")

    def _greet(self, helper: _Helper) -> None:
        """Note that a helper is ready. One that ended before that is left out: the others do its work."""
        try:
            helper.connection.recv()
            helper.ready = True
        except (EOFError, OSError):
            helper.stop()
            self._helpers.remove(helper)


class _Helper:
    def __init__(self, descriptor: int) -> None:
        self.ready = False
        self.has_job = False
        self.waiting = 0
        self._stack = ExitStack()
        with ExitStack() as stack:
            self.spool = stack.enter_context(temporary_file())
            self.connection, theirs = Pipe()
            stack.enter_context(self.connection)
            with theirs:
                self._process = start_helper(theirs.fileno(), descriptor, self.spool.fileno())
            stack.callback(self._process.wait)
            stack.callback(self._process.kill)
            self._stack = stack.pop_all()

    def send(self, what: object) -> None:
        try:
            self.connection.send(what)
        except OSError:
            raise self._reason() from None

    def receive(self) -> Any:
        try:
            received = self.connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(received, TunewayError):
            raise received
        return received

    def stop(self) -> None:
        self.connection.close()
        self._stack.close()

    def _reason(self) -> TunewayError:
        """The error for which it ended, which it may have sent before it was given more to do."""
        with suppress(EOFError, OSError):
            while True:
                received = self.connection.recv()
                if isinstance(received, TunewayError):
                    return received
        return self._ended()

    def _ended(self) -> TunewayError:
        return TunewayError(
            f"a process that checks the data ended with status {self._process.wait()}",
            hint="Was there too little memory? processes=1 checks the data in one process.",
        )


def start_helper(connection: int, file: int, spool: int) -> subprocess.Popen[bytes]:
    """Start a process that has these three files open, and nothing else of this process."""
    files = (connection, file, spool)
    return subprocess.Popen(  # noqa: S603  # this very Python
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps([*map(str, sys.path)]), *map(str, files)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,  # no row on a terminal
        pass_fds=files,
        env={**os.environ, "RAYON_NUM_THREADS": "1"},  # of the tokenizer
    )  # fmt: skip
