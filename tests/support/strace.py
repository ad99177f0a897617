"""Killing a process at exactly this system call: strace lists the calls, and delivers SIGKILL at the one chosen.

    calls = traced([...], env=...)                       # what the process does, in order
    killed = kill_at([...], calls[7], env=...)           # the same process again, dead at its seventh call

The signal arrives when the call is entered, so the call itself no longer happens: what was done is what the
calls before it did. Both look at the main thread alone.
"""

from __future__ import annotations

import functools
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NETWORK = {"connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown", "poll", "ppoll", "select", "pselect6"}

# Calls about files and sockets that change nothing outside of the process, and tell nobody anything.
HARMLESS = {
    "access", "bind", "dup", "dup2", "epoll_create1", "execve", "faccessat2", "fadvise64", "fcntl", "fstat", "fstatfs",
    "getcwd", "getdents64", "getpeername", "getsockname", "getsockopt", "ioctl", "lstat", "mmap", "newfstatat", "pipe2",
    "readlink", "readlinkat", "setsockopt", "socket", "stat", "statfs", "statx",
}  # fmt: skip

LINE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)")


@dataclass(frozen=True)
class Call:
    """The nth call of this name, and how strace shows it."""

    name: str
    nth: int
    shown: str

    def __str__(self) -> str:
        return f"{self.name}#{self.nth} {self.shown[:90]}"


@functools.cache
def obstacle() -> str | None:
    """Why strace can't be used here; None when it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace isn't installed"
    tried = subprocess.run(
        [strace, "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[:200]}"


def traced(command: Sequence[str], **options: object) -> list[Call]:
    """Run a process, and list what its main thread does to files and sockets, but for what is harmless."""
    with tempfile.NamedTemporaryFile("r", prefix="strace-") as log:
        words = [
            "-f",
            "--seccomp-bpf",
            "-y",
            "-s",
            "200",
            "-o",
            log.name,
            "-e",
            "trace=%network,%file,%desc",
            "-e",
            "signal=none",
        ]
        done = _run(words, command, options)
        assert done.returncode == 0, done.stderr
        lines = [found for line in log if (found := LINE.match(line))]
    counts: Counter[str] = Counter()
    calls = []
    for line in lines:
        if line["pid"] == lines[0]["pid"]:
            counts[line["name"]] += 1
            calls.append(Call(line["name"], counts[line["name"]], line["rest"]))
    return [call for call in calls if call.name not in HARMLESS]


def kill_at(command: Sequence[str], call: Call, **options: object) -> bool:
    """Run a process and kill it there; False if it ended, well, before it came there.

    Only the main thread is traced. (The faster filter by BPF would let the call pass without the signal.)
    """
    inject = f"inject={call.name}:signal=SIGKILL:when={call.nth}"
    words = ["-o", "/dev/null", "-e", f"trace={call.name}", "-e", inject]
    done = _run(words, command, options)
    if done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return True
    assert done.returncode == 0, done.stderr
    return False


def _run(
    words: Sequence[str], command: Sequence[str], options: Mapping[str, object]
) -> subprocess.CompletedProcess[str]:
    strace = [shutil.which("strace") or "strace", "-qq", *words]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*strace, *command], capture_output=True, text=True, check=False, timeout=120, **options
    )


def touches(call: Call, *folders: Path | str) -> bool:
    """Whether a call is about a file in one of these folders."""
    return any(f"<{folder}/" in call.shown or f'"{folder}/' in call.shown for folder in folders)
