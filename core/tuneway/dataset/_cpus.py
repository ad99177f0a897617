"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """The processors that this process may run on, and no more than its container's share of time is worth."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([count, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """The limits of the control groups, in processors: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1."""
    for line in _text(_MEMBERSHIP).splitlines():
        _, controllers, group = line.split(":", 2)
        for folder in (PurePosixPath(group), *PurePosixPath(group).parents):
            if not controllers:
                quota, _, period = _text(_CGROUPS / str(folder).lstrip("/") / "cpu.max").partition(" ")
                yield from _quota(quota, period)
            elif "cpu" in controllers.split(","):
                place = _CGROUPS / "cpu" / str(folder).lstrip("/")
                yield from _quota(_text(place / "cpu.cfs_quota_us"), _text(place / "cpu.cfs_period_us"))


def _quota(quota: str, period: str) -> Iterator[float]:
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # no limit, or no such file
        return
    if share > 0:
        yield share


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
