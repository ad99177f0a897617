"""Run a job on several Ray machines: `python -m tuneway_service.executors.ray_gang JOB_DIR ATTEMPT PLAN`.

Ray runs this as the job. It reserves the GPUs and CPUs of the plan on each of the machines (a placement group), and
has `tuneway_service.gang` run on each. The processes meet at the first machine. The job's folder is on storage that
all machines share. When this process ends, however it ends, Ray ends what it has started.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from tuneway_service import gang, parentage, worker
from tuneway_service.executors.ray_settings import Reservation
from tuneway_service.folder import JobFolder

LOOK_SECONDS = 1.0
PATIENCE = 30.0
"""Seconds in which the other machines must end after one has failed; then they are ended."""


def meeting_point() -> tuple[str, int]:
    """The address of this machine, and a free port."""
    import ray

    address = ray.util.get_node_ip_address()
    with socket.socket() as listener:
        listener.bind((address, 0))
        return address, listener.getsockname()[1]


def run_machine(words: list[str], meeting: dict[str, Any]) -> int:
    """Run one machine's part of the gang; its exit status."""
    import ray

    meeting = {**meeting, "address": ray.util.get_node_ip_address()}
    parentage.be_parent()
    environment = {**os.environ, gang.MEETING: json.dumps(meeting)}
    command = [sys.executable, "-m", "tuneway_service.gang", *words]
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own program


class Machines:
    """The machines that Ray has reserved for a gang."""

    def __init__(self, plan: Reservation) -> None:
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._ray: Any = ray
        self._strategy = PlacementGroupSchedulingStrategy
        self.plan = plan
        ray.init(logging_level="ERROR")
        bundle = {"GPU": plan.gpus, "CPU": plan.cpus} if plan.cpus else {"GPU": plan.gpus}
        self._group = placement_group([bundle] * plan.machines, strategy="STRICT_SPREAD")
        self._ready = self._group.ready()

    def there(self) -> bool:
        """Whether the cluster has had room; waits a moment."""
        return bool(self._ray.wait([self._ready], timeout=LOOK_SECONDS)[0])

    def call(self, number: int, function: Any, *arguments: Any) -> Any:
        """Call a function on one of the machines, with all that is reserved there."""
        strategy = self._strategy(placement_group=self._group, placement_group_bundle_index=number)
        remote = self._ray.remote(
            num_gpus=self.plan.gpus, num_cpus=self.plan.cpus, max_retries=0, scheduling_strategy=strategy
        )
        return remote(function).remote(*arguments)

    def run(self, words: list[str]) -> int:
        """Run the gang; the exit status of the first machine's part, or 1 if another failed."""
        address, port = self._ray.get(self.call(0, meeting_point))
        meeting = {
            "count": self.plan.gpus,
            "machines": self.plan.machines,
            "endpoint": f"{address}:{port}",
            "id": uuid.uuid4().hex,
        }
        parts = [
            self.call(number, run_machine, words, meeting | {"number": number}) for number in range(self.plan.machines)
        ]
        found: dict[int, int] = {}
        timeout = None
        while len(found) < len(parts):
            done, _ = self._ray.wait(
                [part for number, part in enumerate(parts) if number not in found], timeout=timeout
            )
            if not done:
                break
            number = parts.index(done[0])
            found[number] = self._status(done[0])
            timeout = PATIENCE if any(found.values()) else None
        return found.get(0, 1) or int(any(found.values()))

    def _status(self, part: Any) -> int:
        try:
            return int(self._ray.get(part))
        except self._ray.exceptions.RayError as error:  # the machine or its process is gone
            sys.stderr.write(f"a machine of the gang is lost: {type(error).__name__}\n")
            return worker.LOST


def main(arguments: list[str]) -> int:
    """Run the gang on the machines of the plan."""
    place, attempt, plan = arguments
    folder = JobFolder(Path(place))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: folder.ask_to_stop())
    machines = Machines(Reservation(**json.loads(plan)))
    while not machines.there():
        if folder.stop_asked() or not folder.ordered(int(attempt)):
            return worker.main([place, attempt], lambda _: {"outcome": "stopped", "step": 0})
    return machines.run([place, attempt])


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
