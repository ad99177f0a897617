"""A gang: the processes that train one job together, one on each device: `python -m tuneway_service.gang JOB_DIR`.

For the service a gang is a worker. This process holds the job's folder and writes the outcome. It starts torchrun,
which starts a process for each device (`rank`) and ends them all when one ends without success. Nothing is started
again here: the supervisor does that, from the last saved state.

Each process ends with its parent, so to kill this one is to kill the gang. While any process of the gang lives, the
folder is held. A request to stop is read by all, who agree on the step after which they stop.

On several machines that share the folder, each has such a process; the first one holds the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneway_service import parentage
from tuneway_service.folder import JobFolder, Taken
from tuneway_service.sandbox import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

# this trainer has nothing that a GPU or a second process could do faster
ALONE = ("bytes",)
LOOPBACK = "127.0.0.1"
THREADS = "OMP_NUM_THREADS"
MEETING = "TUNEWAY_MEETING"
"""The variable with the meeting of a gang on several machines, as JSON."""


def trains_alone(trainer: str) -> bool:
    """Whether a trainer works in one process, on the processor."""
    return trainer in ALONE


def size(order: Mapping[str, Any]) -> int:
    """The number of processes that train a job: one for each device that its order names.

    `devices` is the list of devices on this machine. Where the cluster chooses them, `gpus` is their number.
    """
    if trains_alone(str(order.get("trainer"))):
        return 1
    return max(1, len(order.get("devices") or ()) or int(order.get("gpus") or 1))


def command(folder: JobFolder, order: Mapping[str, Any]) -> list[str]:
    """The command line that trains the job in a folder.

    Its environment must show the devices of the order and no others (CUDA_VISIBLE_DEVICES; empty for processors):
    the process with rank r uses the r-th.
    """
    module = "gang" if size(order) > 1 else "worker"
    return [sys.executable, "-m", f"tuneway_service.{module}", str(folder.path)]


@dataclass(frozen=True)
class Meeting:
    """Where and how the processes of a gang find each other.

    Args:
        count: The number of processes on each machine.
        machines: The number of machines.
        number: The number of this machine; the first one holds the folder.
        address: This machine's address, at which the others reach it.
        endpoint: The address and the port at which the first machine has them meet; with port 0, it takes a free one.
        id: The name of this meeting.
    """

    count: int
    machines: int = 1
    number: int = 0
    address: str = LOOPBACK
    endpoint: str = f"{LOOPBACK}:0"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, order: Mapping[str, Any]) -> Meeting:
        """The meeting that whoever started this process has arranged, or one on this machine alone."""
        arranged = os.environ.get(MEETING)
        return cls(**json.loads(arranged)) if arranged else cls(size(order))


def torchrun(meeting: Meeting, *words: str) -> list[str]:
    """The command line that runs this machine's processes, each by `rank`."""
    options = {
        "nnodes": meeting.machines,
        "nproc-per-node": meeting.count,
        "max-restarts": 0,
        "monitor-interval": 0.1,
        "rdzv-backend": "c10d",
        "rdzv-endpoint": meeting.endpoint,
        "rdzv-id": meeting.id,
        "rdzv-conf": f"is_host={int(meeting.number == 0)}",
        "local-addr": meeting.address,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    launch = [sys.executable, "-m", "tuneway_service.trainers.hf.launch"]
    return [*launch, *given, "-m", "tuneway_service.rank", *words]


def environment(meeting: Meeting) -> dict[str, str]:
    """Environment variables of the processes: how many threads each uses, and, on one machine, the loopback network."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    alone = {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback} if meeting.machines == 1 else {}
    return {**os.environ, **alone, THREADS: str(max(1, _threads() // meeting.count))}


def _threads() -> int:
    """How many threads all processes together may use."""
    asked = os.environ.get(THREADS, "")
    if asked.isdecimal():
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train(folder: JobFolder, *, attempt: int, meeting: Meeting) -> dict[str, Any] | None:
    """Run a gang and return its outcome; None if it was lost. Raises `Taken` if another attempt is ordered."""
    ranks = folder.path / "ranks"
    shutil.rmtree(ranks, ignore_errors=True)
    ranks.mkdir()
    status = run(folder, attempt=attempt, meeting=meeting)
    every = range(meeting.count * meeting.machines)
    outcomes = {rank: found for rank in every if (found := folder.read(f"ranks/{rank}"))}
    shutil.rmtree(ranks, ignore_errors=True)
    if not folder.ordered(attempt):
        raise Taken(folder.path.name)
    if not outcomes and status < 0:
        sys.stderr.write(f"torchrun was killed by {signal.Signals(-status).name}\n")
    return _outcome_of(outcomes)


def run(folder: JobFolder, *, attempt: int, meeting: Meeting) -> int:
    """Run this machine's processes of a gang to their end; the exit status of torchrun."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: folder.ask_to_stop())
    # code that grades answers must not read the key of the models that grade from here
    kernel.hide_memory()
    parentage.be_parent()
    # in a session of its own: a signal to the group of this process doesn't end it
    return subprocess.run(  # noqa: S603 - our own program
        torchrun(meeting, str(folder.path), str(attempt)),
        env=environment(meeting),
        start_new_session=True,
        check=False,
    ).returncode


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
        attempt = int(order["attempt"])
    except (OSError, ValueError, LookupError):
        return worker.TAKEN
    if size(order) == 1:
        return worker.main(arguments)
    meeting = Meeting.of(order)
    if meeting.number:
        return int(run(JobFolder(Path(arguments[0])), attempt=attempt, meeting=meeting) != 0)
    return worker.main(arguments, partial(train, attempt=attempt, meeting=meeting))


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
