"""A gang: the processes that train one job together, one on each device: `python -m tuneway_service.gang JOB_DIR`.

For the service a gang is a worker. This process holds the job's folder and writes the outcome. It starts torchrun,
which starts a process for each device (`rank`) and ends them all when one ends without success. Nothing is started
again here: the supervisor does that, from the last saved state.

Each process ends with its parent, so to kill this one is to kill the gang. While any process of the gang lives, the
folder is held. A request to stop is read by all, who agree on the step after which they stop.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway_service import parentage
from tuneway_service.folder import Taken
from tuneway_service.sandbox import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.folder import JobFolder

# this trainer has nothing that a second process could do faster
ALONE = ("bytes",)
LOOPBACK = "127.0.0.1"
THREADS = "OMP_NUM_THREADS"


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


def torchrun(count: int, *words: str) -> list[str]:
    """The command line that runs `rank` in so many processes on this machine."""
    options = {
        "nnodes": 1,
        "nproc-per-node": count,
        "max-restarts": 0,
        "monitor-interval": 0.1,
        "rdzv-backend": "c10d",
        "rdzv-endpoint": f"{LOOPBACK}:0",
        "rdzv-id": uuid.uuid4().hex,
        "local-addr": LOOPBACK,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    launch = [sys.executable, "-m", "tuneway_service.trainers.hf.launch"]
    return [*launch, *given, "-m", "tuneway_service.rank", *words]


def environment(count: int) -> dict[str, str]:
    """The environment of the processes: they talk on this machine alone, and share its cores."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    return {
        **os.environ,
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        THREADS: str(max(1, _threads() // count)),
    }


def _threads() -> int:
    """How many threads all processes together may use."""
    asked = os.environ.get(THREADS, "")
    if asked.isdecimal():
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train(folder: JobFolder, *, attempt: int, count: int) -> dict[str, Any] | None:
    """Run a gang and return its outcome; None if it was lost. Raises `Taken` if another attempt is ordered."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: folder.ask_to_stop())
    # code that grades answers must not read the key of the models that grade from here
    kernel.hide_memory()
    ranks = folder.path / "ranks"
    shutil.rmtree(ranks, ignore_errors=True)
    ranks.mkdir()
    parentage.be_parent()
    # in a session of its own: a signal to the group of this process doesn't end it
    status = subprocess.run(  # noqa: S603 - our own program
        torchrun(count, str(folder.path), str(attempt)),
        env=environment(count),
        start_new_session=True,
        check=False,
    ).returncode
    outcomes = {rank: found for rank in range(count) if (found := folder.read(f"ranks/{rank}"))}
    shutil.rmtree(ranks, ignore_errors=True)
    if not folder.ordered(attempt):
        raise Taken(folder.path.name)
    if not outcomes and status < 0:
        sys.stderr.write(f"torchrun was killed by {signal.Signals(-status).name}\n")
    return _outcome_of(outcomes)


def _outcome_of(outcomes: Mapping[int, dict[str, Any]]) -> dict[str, Any] | None:
    """The outcome of a gang: that of a process that failed, or that of rank 0."""
    failed = [outcome for _, outcome in sorted(outcomes.items()) if outcome["outcome"] == "failed"]
    if failed or 0 not in outcomes:
        return next(iter(failed), None)
    seconds = [outcome["cpu_seconds"] for outcome in outcomes.values() if "cpu_seconds" in outcome]
    return outcomes[0] | ({"cpu_seconds": round(sum(seconds), 3)} if seconds else {})


def main(arguments: list[str]) -> int:
    """Train the job in a folder with as many processes as its order names devices."""
    from tuneway_service import worker  # the service, which needs only the command line, has no use for trainers

    try:
        order = json.loads(Path(arguments[0], "job.json").read_bytes())
        count, attempt = size(order), int(order["attempt"])
    except (OSError, ValueError, LookupError):
        return worker.TAKEN
    if count == 1:
        return worker.main(arguments)
    return worker.main(arguments, partial(train, attempt=attempt, count=count))


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
