"""The descendants of this process: how many there are, how much memory they have, and their end."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

PATIENCE = 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT, _PAGES = 1, 21


@dataclass(frozen=True)
class Descendant:
    """A process that this one, or one of its descendants, has started."""

    pid: int
    bytes: int


def descendants() -> list[Descendant]:
    """All descendants, zombies too; none where there is no `/proc`."""
    children: dict[int, list[Descendant]] = {}
    with suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - this process is to start quickly
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                # the name, in parentheses, may hold anything
                fields = file.read().rpartition(b")")[2].split()
                found = Descendant(int(name), int(fields[_PAGES]) * _PAGE)
                children.setdefault(int(fields[_PARENT]), []).append(found)
    every: list[Descendant] = []
    level = children.get(os.getpid(), [])
    while level:
        every += level
        level = [inner for outer in level for inner in children.get(outer.pid, [])]
    return every


def end_all(first: int) -> None:
    """End a child, its group, and every other descendant. Orphans are found because this process adopts them."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(first, signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while _reap() and time.monotonic() < until:
        found = descendants()
        # one that is stopped starts no other while the rest is ended
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, number)
        time.sleep(0.001)


def _reap() -> bool:
    """Collect the children that have ended; returns whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
