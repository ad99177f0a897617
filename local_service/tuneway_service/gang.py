"""A gang: the processes that train one job together, one on each device.

The executor starts a worker by `command`. For one device this is the worker itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.folder import JobFolder

# this trainer has nothing that a second process could do faster
ALONE = ("bytes",)


def size(order: Mapping[str, Any]) -> int:
    """The number of processes that train a job: one for each device that its order names.

    `devices` is the list of devices on this machine. Where the cluster chooses them, `gpus` is their number.
    """
    if order.get("trainer") in ALONE:
        return 1
    return max(1, len(order.get("devices") or ()) or int(order.get("gpus") or 1))


def command(folder: JobFolder, order: Mapping[str, Any]) -> list[str]:
    """The command line that trains the job in a folder.

    Its environment must show the devices of the order and no others (CUDA_VISIBLE_DEVICES; empty for processors):
    the process with rank r uses the r-th.
    """
    module = "gang" if size(order) > 1 else "worker"
    return [sys.executable, "-m", f"tuneway_service.{module}", str(folder.path)]
