"""A thousand deferred tasks in one triggerer's loop, beside the official OpenAI provider's trigger; parse cost.

The peer is `OpenAIBatchTrigger`, with the interval that its operator gives it.
Both triggers run as they are, in the same kind of loop, against the same server, each in a process of its
own, with the same jobs: they end one by one over three hours. Of these the first half hour is run, when
nearly all are deferred, and its second half counts: the peer builds a client for each task in the loop, which
takes it minutes. Ours reads each job's log to its end as well, which the peer has no counterpart of;
so shorter jobs, which end more often, narrow the distance. Time is compressed for both: seconds pass 5 times
as fast, so that half an hour takes six minutes. More would choke the peer, which sends one request after the
other, and would make it look better than it is in requests and worse in delay.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import _jobs_server
import httpx
from _figures import figure
from bench_import import medians

COUNT = 1000
PACE = 5.0
FIRST, LAST = 300 / PACE, 10_800 / PACE
RUN = 1800 / PACE
FIXED = 60.0
RUNS = 7


class JobsAndBatches(_jobs_server.Jobs):
    """The same jobs, shown as batches too, and with a log of one line each."""

    def answer(self, target: str) -> tuple[int, dict[str, Any], str]:
        """Status, body and further headers."""
        batch = re.fullmatch(r"/v1/batches/([^/?]+)", target)
        log = re.match(r"/v1/fine_tuning/jobs/([^/?]+)/events", target)
        if target == "/stats":
            now = self.now()
            # an end that nobody has seen yet is late by now already
            ended = [(end, self.shown.get(job_id, now) - end) for job_id, end in self.ends.items() if end <= now]
            return 200, {"asked": self.asked, "ended": ended, "now": now}, ""
        if batch:
            self.asked.append(self.now())
            job = self.render(batch[1])
            status = "completed" if job["status"] == "succeeded" else "in_progress"
            return 200, _batch(job["id"], status), ""
        if log:
            self.asked.append(self.now())
            line = {"id": f"ev-{log[1]}", "object": "fine_tuning.job.event", "created_at": 1_790_000_000}
            line |= {"level": "info", "message": "Fine-tuning job started", "type": "message", "data": None}
            return 200, {"object": "list", "data": [line], "has_more": False}, ""
        return super().answer(target)


def _batch(batch_id: str, status: str) -> dict[str, Any]:
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "created_at": 1_790_000_000,
        "input_file_id": "file-1",
        "status": status,
    }


class Supervisor:
    """What a triggerer's supervisor answers, from memory."""

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, str], Any] = {}

    def send(self, message: Any) -> Any:
        """Keep an XCom, or give it."""
        from airflow.sdk.execution_time.comms import SetXCom, XComResult

        place = (message.task_id, message.key)
        if isinstance(message, SetXCom):
            self.xcoms[place] = message.value
            return None
        return XComResult(key=message.key, value=self.xcoms.get(place))


async def ours(root: str, count: int) -> dict[str, float]:
    """Our triggers, with the schedule against a service that isn't on this machine."""
    from types import SimpleNamespace

    from airflow_tuneway import _clients
    from airflow_tuneway.triggers import FineTuningJobTrigger
    from tuneway import AsyncClient, Poll

    offset = time.time() - time.monotonic() * PACE

    class CompressedClient(AsyncClient):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings | {"poll": Poll()})
            # as for a service that isn't on this machine
            self._watcher._account = dataclasses.replace(self._account, local=False)  # noqa: SLF001
            self._driver.sleep = lambda seconds: asyncio.sleep(seconds / PACE)
            self._driver._clock = lambda: lambda: time.monotonic() * PACE + offset  # noqa: SLF001

    _clients.AsyncClient = CompressedClient
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps({"conn_type": "tuneway", "host": f"{root}/v1"})

    def trigger(number: int) -> FineTuningJobTrigger:
        made = FineTuningJobTrigger(token={"v": 1, "job_id": f"ftjob-{number}"}, conn_id="bench")
        made.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id=f"t{number}", map_index=-1)
        return made

    return await _run_all([trigger(number) for number in range(count)])


async def official(root: str, count: int) -> dict[str, float]:
    """The official provider's triggers, as they are, with their own interval."""
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

    connection = {"conn_type": "openai", "password": "k", "host": f"{root}/v1"}
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(connection)
    return await _run_all(
        [
            OpenAIBatchTrigger(conn_id="bench", batch_id=f"ftjob-{n}", poll_interval=FIXED / PACE, timeout=1e6)
            for n in range(count)
        ]
    )


async def _run_all(triggers: list[Any]) -> dict[str, float]:
    """Run triggers as a triggerer does, each in a task, and watch the loop."""
    from airflow.sdk.execution_time import task_runner

    task_runner.SUPERVISOR_COMMS = Supervisor()
    before = _peak()
    gaps: list[float] = []
    holds: list[float] = []
    ticking = asyncio.create_task(_tick(gaps, holds))
    tasks = [asyncio.create_task(anext(trigger.run())) for trigger in triggers]
    ended, waiting = await asyncio.wait(tasks, timeout=RUN)
    ticking.cancel()
    assert not [task.exception() for task in ended if task.exception()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    figures = {"ended": len(ended), "gap_p99": _p99(gaps), "gap_max": max(gaps), "hold_p99": _p99(holds)}
    return figures | {"more_mib": _peak() - before, "mib": _peak()}


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


async def _tick(gaps: list[float], holds: list[float]) -> None:
    """How late a task that asks for 10 ms is called, and how much CPU time the loop has spent meanwhile.

    On a busy machine the first tells of the neighbours as well, so the target is on the second.
    """
    while True:
        asked, spent = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.01)
        gaps.append(time.perf_counter() - asked - 0.01)
        holds.append(time.thread_time() - spent)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(who: str, count: int) -> dict[str, Any]:
    """Run one side in a fresh process against a fresh server."""
    options = json.dumps({"count": count, "first": FIRST, "last": LAST})
    server = subprocess.Popen([sys.executable, __file__, "server", options], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    root = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    try:
        with tempfile.TemporaryDirectory() as home:
            environment = os.environ | {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
            command = [sys.executable, __file__, who, root, str(count)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        stats = httpx.get(f"{root}/stats", trust_env=False).json()
    finally:
        server.kill()
        server.wait()
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    since = stats["now"] - RUN / 2
    asked = [moment for moment in stats["asked"] if moment >= since]
    delays = [delay for ended, delay in stats["ended"] if ended >= since]
    return found | {"per_minute": len(asked) / (RUN / 2 * PACE / 60), "delay": statistics.mean(delays) * PACE}


def parse_cost() -> tuple[float, float]:
    """Median seconds of importing the operators after Airflow's own, and of Airflow's own."""
    ours = "from airflow.sdk import BaseOperator\nt = now()\nimport airflow_tuneway.operators"
    more, theirs = medians(ours, "from airflow.sdk import BaseOperator", runs=RUNS)
    return more, theirs


def main() -> None:
    """Print the figures."""
    more, _ = parse_cost()
    figure("import airflow_tuneway.operators, over Airflow's own import", ours=more, peer=None, unit="s", at_most=0.05)
    many, peer = measure("ours", COUNT), measure("official", COUNT)
    what = "1,000 deferred tasks, beside OpenAIBatchTrigger"
    figure(f"{what}: requests a minute", ours=many["per_minute"], peer=peer["per_minute"], unit="", at_most=0.05)
    figure(f"{what}: mean delay", ours=many["delay"], peer=peer["delay"], unit="s", at_most=1)
    hold, gap = many["hold_p99"], many["gap_p99"]
    figure("1,000 deferred tasks: loop held p99, CPU time", ours=hold, peer=peer["hold_p99"], unit="s")
    figure("1,000 deferred tasks: loop held p99, CPU time, alone", ours=hold, peer=None, unit="s", at_most=0.02)
    figure("1,000 deferred tasks: loop gap p99, wall time", ours=gap, peer=peer["gap_p99"], unit="s")
    figure("1,000 deferred tasks: longest loop gap", ours=many["gap_max"], peer=peer["gap_max"], unit="s")
    figure("1,000 deferred tasks: memory more", ours=many["more_mib"], peer=peer["more_mib"], unit="MiB")
    figure("1,000 deferred tasks: memory in all", ours=many["mib"], peer=None, unit="MiB", at_most=200)


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        _jobs_server.Jobs = JobsAndBatches
        asyncio.run(_jobs_server.serve(json.loads(sys.argv[2])))
    elif len(sys.argv) > 1:
        sides = {"ours": ours, "official": official}
        print(json.dumps(asyncio.run(sides[sys.argv[1]](sys.argv[2], int(sys.argv[3])))))
    else:
        main()
