"""The devices that trainings use: which there are, which may be used, and how a process is shown its own.

A device is a GPU by its number or its UUID, as CUDA names it, or made up on the processor: `cpu:0`. GPUs are found
without PyTorch, which the service itself doesn't load.
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA shows a process its devices."""
LIST_SECONDS = 30.0

_MADE_UP = re.compile(r"cpu:(\d+)")
_GPU = re.compile(r"GPU (\d+): ")
_SLICE = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")


def listing() -> str:
    """The GPUs of NVIDIA's driver, in its own words; empty if there is no driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 - wherever the driver has put it
            capture_output=True,
            text=True,
            timeout=LIST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def found(environ: Mapping[str, str] = os.environ, listed: Callable[[], str] = listing) -> tuple[str, ...]:
    """The GPUs of this machine that this process may use.

    Of a GPU that is cut into slices (MIG), the slices are given.
    """
    shown = environ.get(VISIBLE)
    if shown is not None:
        names = [name.strip() for name in shown.split(",")]
        # CUDA ignores what comes after the first that doesn't exist
        ends = next((place for place, name in enumerate(names) if name in ("", "-1")), len(names))
        return tuple(names[:ends])
    whole: list[list[str]] = []
    for line in listed().splitlines():
        if gpu := _GPU.match(line):
            whole.append([gpu[1]])
        elif whole and (part := _SLICE.match(line)):
            whole[-1].append(part[1])
    return tuple(name for gpu in whole for name in (gpu[1:] or gpu))


def chosen(wanted: str | None, find: Callable[[], tuple[str, ...]] = found) -> tuple[str, ...] | None:
    """The devices that the option `--gpus` means; None if nothing is wanted and no GPU is found.

    Raises:
        InvalidSpec: A device isn't there.
    """
    if wanted is None:
        return find() or None
    if wanted == "none":
        return ()
    if made_up := _MADE_UP.fullmatch(wanted):
        if not 1 <= int(made_up[1]) <= 64:
            raise _wrong(f"{wanted}: between 1 and 64 devices can be made up")
        return tuple(f"cpu:{number}" for number in range(int(made_up[1])))
    there = find()
    if wanted == "all":
        if not there:
            raise _wrong("no GPU was found on this machine")
        return there
    names = [name.strip() for name in wanted.split(",")]
    if missing := [name for name in names if name not in there]:
        has = f"this machine has {', '.join(there)}" if there else "no GPU was found on this machine"
        raise _wrong(f"there is no GPU {missing[0]!r}: {has}")
    if len(set(names)) < len(names):
        raise _wrong(f"{wanted!r} names a GPU twice")
    return tuple(names)


def _wrong(text: str) -> InvalidSpec:
    return InvalidSpec(text, field="gpus", hint="Give all, none, a list such as 0,1, or cpu:2 to try without GPUs.")


def visible(devices: Sequence[str] | None) -> dict[str, str]:
    """The environment variables that show a process these devices and no others; None leaves all visible."""
    if devices is None:
        return {}
    return {VISIBLE: ",".join(filter(is_gpu, devices))}


def is_gpu(device: str) -> bool:
    """Whether a device is a GPU, and not made up on the processor."""
    return not _MADE_UP.fullmatch(device)


def said(devices: Sequence[str]) -> str:
    """Devices for people: "GPU 0 and GPU 3"."""
    names = [f"GPU {name}" if is_gpu(name) else name for name in devices]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
