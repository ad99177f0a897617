"""How much memory is free for a training: on a GPU, or on this machine within the limits of its control groups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def free_memory(device: torch.device) -> int | None:
    """The bytes that one process of a training may take on a device; None if the system doesn't say.

    The processes of a gang share the memory of their machine.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = min(_of_machine(Path("/")), default=None)
    return None if found is None else found // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _of_machine(root: Path) -> Iterator[int]:
    """What is free in all, and in each control group of this process."""
    meminfo = _table(root / "proc/meminfo")
    if "MemAvailable:" in meminfo:
        yield meminfo["MemAvailable:"] * 1024
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, kinds, name in (group.split(":", 2) for group in groups):
        if kinds in ("", "memory"):
            top = root / "sys/fs/cgroup" / kinds
            # in a container its own group is at the top, and the name may lead nowhere
            group = top / name.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(top):
                    yield from _of_group(folder)


def _of_group(folder: Path) -> Iterator[int]:
    """What is free below a group's limit; files that were only read count as free."""
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
        except (OSError, ValueError):  # there is no such file, or no limit
            continue
        stat = _table(folder / "memory.stat")
        yield max(0, most - now + stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _table(path: Path) -> dict[str, int]:
    """The first number of each line, by the word before it."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
