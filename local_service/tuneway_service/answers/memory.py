"""The free memory of this machine, and of a GPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tuneway_service.devices import is_gpu

MEMORY = Path("/proc/meminfo")
QUERY_SECONDS = 10.0


def free_memory(device: Sequence[str] | None) -> tuple[int, int] | None:
    """The bytes that are free on a device, or in the machine if it is none, and all that there are."""
    gpus = [name for name in device or () if is_gpu(name)]
    return _of_gpu(gpus[0]) if gpus else _of_machine()


def _of_machine() -> tuple[int, int] | None:
    try:
        lines = (line.split() for line in MEMORY.read_text().splitlines())
        kilobytes = {words[0]: int(words[1]) for words in lines}
        return kilobytes["MemAvailable:"] * 1024, kilobytes["MemTotal:"] * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return _of_posix()


def _of_posix() -> tuple[int, int] | None:
    try:
        size, every = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        return size * os.sysconf("SC_AVPHYS_PAGES"), size * every
    except (ValueError, OSError):
        return None


def _of_gpu(name: str) -> tuple[int, int] | None:
    asked = ["nvidia-smi", f"--id={name}", "--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True)  # noqa: S603
        free, every = (int(word) * 2**20 for word in done.stdout.split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return free, every
