"""The processes with models that a service has: a trainer's own, or llama.cpp's servers."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
LLAMA = b"llamacpp.process"


def answerers(pid: int, program: bytes = b"answerer") -> dict[int, float]:
    """The processes that answer for the service with this id, and the seconds of CPU time that each has used."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == pid and program in (entry / "cmdline").read_bytes():
                    found[int(entry.name)] = (int(stat[11]) + int(stat[12])) / TICKS
            except OSError:
                continue
    return found


def busy(pid: int, program: bytes = b"answerer") -> bool:
    """Whether one of them computes."""
    before = answerers(pid, program)
    time.sleep(0.1)
    return answerers(pid, program) != before
