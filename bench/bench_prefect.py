"""200 waits in one flow, beside the pattern of `prefect-databricks`: one task run for each poll of each job.

Each side runs in a process of its own, beside a Prefect server of its own, against the same service with the same
jobs that end at the same times. The peer's pattern is written here as that collection has it: a loop that runs a task
with a client of its own to read the job, and sleeps 10 seconds (its default). Our waits also read each job's log and
its outcome, and show progress, table and page in Prefect's UI, which the peer doesn't: requests that only ask whether
a job has ended are counted apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import _jobs_server
import httpx
from _figures import figure
from bench_import import medians

COUNT = 200
FIRST, LAST = 30.0, 300.0
PEERS_INTERVAL = 10.0
RUNS = 5

told: Counter[str] = Counter()


class JobsWithLogs(_jobs_server.Jobs):
    """The same jobs, with a log of one line and no checkpoints; requests for anything but jobs are counted apart.

    Time begins when the flow does, not when Prefect's server is started.
    """

    besides = 0

    def answer(self, target: str) -> tuple[int, dict[str, Any], str]:
        """Status, body and further headers."""
        if target == "/begin":
            self.started = time.monotonic()
            return 200, {}, ""
        log = re.match(r"/v1/(?:fine_tuning/jobs|files|models)/([^/?]+)(?:/(events|checkpoints)|$)", target)
        if log is None or (log[2] is None and "/fine_tuning/jobs/" in target):
            status, body, headers = super().answer(target)
            return status, body | {"besides": self.besides} if target == "/stats" else body, headers
        self.besides += 1
        self.asked.append(self.now())
        if log[2] is None:
            return 200, {"id": log[1], "object": target.split("/")[2].removesuffix("s")}, ""
        line = {"id": f"ev-{log[1]}", "object": "fine_tuning.job.event", "created_at": 1_790_000_000}
        line |= {"level": "info", "message": "Fine-tuning job started", "type": "message", "data": None}
        return 200, {"object": "list", "data": [line] if log[2] == "events" else [], "has_more": False}, ""


def count_what_prefect_is_told() -> None:
    """Count the requests to Prefect's API, and the events that go to it over its socket."""
    from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
    from prefect.events.clients import PrefectEventsClient

    def counting(kind: type, method: str, name: str) -> None:
        real = getattr(kind, method)

        async def acounted(self: Any, *arguments: Any, **options: Any) -> Any:
            told[name] += 1
            return await real(self, *arguments, **options)

        def counted(self: Any, *arguments: Any, **options: Any) -> Any:
            told[name] += 1
            return real(self, *arguments, **options)

        setattr(kind, method, acounted if asyncio.iscoroutinefunction(real) else counted)

    counting(PrefectHttpxAsyncClient, "send", "requests")
    counting(PrefectHttpxSyncClient, "send", "requests")
    counting(PrefectEventsClient, "_emit", "events")


def ours(root: str, count: int) -> None:
    """Our waits, as a user maps them."""
    from prefect import flow, unmapped

    from prefect_tuneway import FineTuningCredentials, wait_for_fine_tuning_job
    from tuneway.client import _settings

    _settings.is_local = lambda base_url: False  # noqa: ARG005 - the pace against a service that isn't on this machine
    credentials = FineTuningCredentials(base_url=f"{root}/v1", api_key="sk-bench")

    @flow
    def many() -> None:
        ids = [f"ftjob-{number}" for number in range(count)]
        done = wait_for_fine_tuning_job.map(ids, credentials=unmapped(credentials)).result()
        assert len(done) == count

    many()


def peer(root: str, count: int) -> None:
    """The pattern of `jobs_runs_wait_for_completion`."""
    from prefect import flow, task

    @task
    async def jobs_runs_get(job_id: str) -> dict[str, Any]:
        # patient: 200 clients made at once on one loop hold it for longer than httpx's own 5 seconds
        async with httpx.AsyncClient(base_url=f"{root}/v1", trust_env=False, timeout=120) as client:
            found: dict[str, Any] = (await client.get(f"/fine_tuning/jobs/{job_id}")).json()
        return found

    async def wait_for_completion(job_id: str) -> dict[str, Any]:
        while True:
            job = await jobs_runs_get(job_id)
            if job["status"] in ("succeeded", "failed", "cancelled"):
                return job
            await asyncio.sleep(PEERS_INTERVAL)

    @flow
    async def many() -> None:
        done = await asyncio.gather(*(wait_for_completion(f"ftjob-{number}") for number in range(count)))
        assert len(done) == count

    asyncio.run(many())


def run(side: str, root: str, count: int) -> dict[str, float]:
    """One side, beside a Prefect server of its own."""
    from prefect.testing.utilities import prefect_test_harness

    count_what_prefect_is_told()
    with prefect_test_harness(server_startup_timeout=120):
        httpx.get(f"{root}/begin", trust_env=False)
        told.clear()
        started, spent = time.monotonic(), time.process_time()
        {"ours": ours, "peer": peer}[side](root, count)
        return {
            "wall": time.monotonic() - started,
            "cpu": time.process_time() - spent,
            "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "requests": told["requests"],
            "events": told["events"],
        }


def measure(side: str) -> dict[str, float]:
    """Run one side in a fresh process against a fresh service."""
    options = json.dumps({"count": COUNT, "first": FIRST, "last": LAST})
    server = subprocess.Popen([sys.executable, __file__, "server", options], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    root = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    try:
        with tempfile.TemporaryDirectory() as home:
            environment = os.environ | {
                "PREFECT_HOME": home,
                "PREFECT_LOGGING_LEVEL": "ERROR",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
                "PYTHONWARNINGS": "ignore",
            }
            command = [sys.executable, __file__, side, root, str(COUNT)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        stats = httpx.get(f"{root}/stats", trust_env=False).json()
    finally:
        server.kill()
        server.wait()
    assert len(stats["delays"]) == COUNT, "somebody missed a job's end"
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    asked = len(stats["asked"])
    return found | {"asked": asked, "looks": asked - stats["besides"], "delay": statistics.mean(stats["delays"])}


def import_costs() -> list[float]:
    """Median seconds of importing the collection, and all that a file of flows may use of it.

    Both after Prefect and a first flow, which every file of flows has.
    """
    theirs = "from prefect import flow, task\n@flow\ndef first(x: int = 1): ...\nt = now()\n"
    return medians(*(theirs + ours for ours in ("import prefect_tuneway", "from prefect_tuneway import *")), runs=RUNS)


def main() -> None:
    """Print the figures."""
    package, everything = import_costs()
    figure("import prefect_tuneway, over Prefect and a flow", ours=package, peer=None, unit="s", at_most=0.2)
    figure("import everything of it, over the same", ours=everything, peer=None, unit="s", at_most=0.4)
    many, theirs = measure("ours"), measure("peer")
    what = "200 waits in one flow, beside one task run a poll"
    figure(f"{what}: looks at jobs", ours=many["looks"], peer=theirs["looks"], unit="", at_most=0.1)
    figure(f"{what}: all requests to the service", ours=many["asked"], peer=theirs["asked"], unit="", at_most=0.5)
    figure(f"{what}: events to Prefect", ours=many["events"], peer=theirs["events"], unit="", at_most=0.5)
    figure(f"{what}: requests to Prefect's API", ours=many["requests"], peer=theirs["requests"], unit="")
    figure(f"{what}: mean delay", ours=many["delay"], peer=theirs["delay"], unit="s")
    figure(f"{what}: CPU time", ours=many["cpu"], peer=theirs["cpu"], unit="s")
    figure(f"{what}: wall time", ours=many["wall"], peer=theirs["wall"], unit="s")
    figure(f"{what}: memory", ours=many["mib"], peer=theirs["mib"], unit="MiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        _jobs_server.Jobs = JobsWithLogs  # type: ignore[misc]
        asyncio.run(_jobs_server.serve(json.loads(sys.argv[2])))
    elif len(sys.argv) > 1:
        print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
