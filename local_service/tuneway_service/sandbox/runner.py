"""Runs a client's code in a child process, and ends everything that the code has started.

The request is JSON on standard input, the reply JSON on standard output: `{"score": 0.5}` or `{"error": "…"}`. This
process adopts the orphans among its descendants, so none outlives it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

from tuneway_service.sandbox import code, kernel
from tuneway_service.sandbox.processes import descendants, end_all

TICK = 0.1
LONGEST_REPLY = 2**16


def main() -> None:
    """Read the request, run the code, write the reply."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    kernel.die_with_parent(signal.SIGTERM)
    kernel.adopt_orphans()
    request = json.load(sys.stdin.buffer)
    isolated = "processes" in request["shields"] and kernel.isolate_children()
    source, answer = os.pipe()
    child = os.fork()
    if child == 0:
        code.run(request, answer, isolated=isolated)
    try:
        os.close(answer)
        reply = _Watch(child, source, request).reply()
    finally:
        end_all(child)
    sys.stdout.buffer.write(reply)


class _Watch:
    """Waits for the child's reply, and for the limits."""

    def __init__(self, child: int, source: int, request: dict[str, Any]) -> None:
        self.child = child
        self.source = source
        self.request = request
        self.end = time.monotonic() + request["seconds"]
        self.read = b""
        self.closed = False

    def reply(self) -> bytes:
        """The child's reply, or the error that ended it."""
        while True:
            left = self.end - time.monotonic()
            if left <= 0:
                return _error(f"it took longer than {self.request['seconds']:g} s")
            if self._ready(min(left, TICK)):
                piece = os.read(self.source, LONGEST_REPLY)
                self.closed = not piece
                self.read += piece
                if self.read.endswith(b"\n") or len(self.read) > LONGEST_REPLY:
                    return self.read if len(self.read) <= LONGEST_REPLY else _error("its reply is too long")
            elif problem := self._ended() or self._excess():
                return _error(problem)

    def _ready(self, seconds: float) -> bool:
        if self.closed:
            # it closed its end: only its own end, or a limit, is left to wait for
            time.sleep(min(seconds, TICK / 10))
            return False
        return bool(select.select([self.source], [], [], seconds)[0])

    def _ended(self) -> str | None:
        found = os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        how = f"status {found.si_status}" if found.si_code == os.CLD_EXITED else f"signal {found.si_status}"
        return f"it ended with {how}, without a number"

    def _excess(self) -> str | None:
        found = descendants()
        if len(found) > self.request["processes"]:
            return f"it started more than {self.request['processes']} processes"
        if sum(process.bytes for process in found) > self.request["memory"]:
            return f"it used more than {self.request['memory'] >> 20} MiB of memory"
        if _size(self.request["folder"]) > self.request["disk"]:
            return f"it wrote more than {self.request['disk'] >> 20} MiB"
        return None


def _size(folder: str) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(f"{place}/{name}").st_blocks * 512
            except OSError:
                continue
    return total


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()
