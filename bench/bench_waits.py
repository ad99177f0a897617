"""A thousand waits in one process: requests, delay, memory and the loop, beside a thousand fixed pollers.

Time is compressed: both sides' seconds pass 20 times as fast, so that half an hour of waiting is a minute
and a half here. What is compared are counts and shares of a minute, which compression leaves alone. The
schedule is the one against a service that isn't on this machine.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import httpx
from _figures import figure
from _jobs_server import jobs_server

COUNT = 1000
PACE = 20.0
FIRST, LAST = 300 / PACE, 1800 / PACE
FIXED = 60.0


async def ours(root: str, count: int) -> dict[str, float]:
    """Wait with one client, as a triggerer or a flow would."""
    from tuneway import AsyncClient, Poll

    client = AsyncClient(base_url=f"{root}/v1", poll=Poll())
    account = dataclasses.replace(client._account, local=False)  # noqa: SLF001 - wait as for a distant service
    client._watcher._account = account  # noqa: SLF001
    offset = time.time() - time.monotonic() * PACE
    client._driver.sleep = lambda seconds: asyncio.sleep(seconds / PACE)  # noqa: SLF001 - compressed time
    client._driver._clock = lambda: lambda: time.monotonic() * PACE + offset  # noqa: SLF001
    stalls = _Stalls()
    gc.collect()
    gc.freeze()  # as servers do when they are up; of what is searched from now on, all is the waits' own
    waits = asyncio.gather(*(client.wait(f"ftjob-{number}") for number in range(count)))
    async with stalls:
        await waits
    await client.aclose()
    return {
        "longest_stall": stalls.worst,
        "longest_stall_of_ours": stalls.worst_of_ours,
        "collections": stalls.collections,
        "peak_mib": _peak(),
    }


async def fixed(root: str, count: int) -> dict[str, float]:
    """What sleep loops do: each asks for its own job every 60 seconds, starting when it starts."""
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=100), timeout=60) as http:

        async def poll(number: int) -> None:
            await asyncio.sleep(number / count * FIXED / PACE)
            while True:
                reply = await http.get(f"{root}/v1/fine_tuning/jobs/ftjob-{number}")
                if reply.json()["status"] == "succeeded":
                    return
                await asyncio.sleep(FIXED / PACE)

        await asyncio.gather(*(poll(number) for number in range(count)))
    return {"peak_mib": _peak()}


class _Stalls:
    """The most CPU time that the loop's thread spent between two looks, a millisecond apart, at what it spent.

    CPU time, since on a busy machine the wall's tells more of the neighbours; that nothing blocks in the
    loop is tested elsewhere, by catching the calls themselves. Python's full collections of garbage count
    too, as far as they search what the waits have made, and are told apart besides.
    """

    def __init__(self) -> None:
        self.worst = self.worst_of_ours = 0.0
        self.collections = 0
        self._collecting = 0.0
        self._began = 0.0

    async def __aenter__(self) -> None:
        gc.callbacks.append(self._note)
        self.task = asyncio.create_task(self._tick())

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.collections += 1
            self._collecting += time.thread_time() - self._began

    async def _tick(self) -> None:
        before, collected = time.thread_time(), self._collecting
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            held = now - before
            self.worst = max(self.worst, held)
            self.worst_of_ours = max(self.worst_of_ours, held - (self._collecting - collected))
            before, collected = now, self._collecting


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(who: str, count: int, *, first: float = FIRST, last: float = LAST) -> dict[str, Any]:
    """Run one side in a fresh process against a fresh server."""
    with jobs_server(count=count, first=first, last=last) as root:
        command = [sys.executable, __file__, who, root, str(count)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        stats = httpx.get(f"{root}/stats", trust_env=False).json()
    delay = statistics.mean(stats["delays"]) * PACE
    return dict(json.loads(out)) | {"requests": len(stats["asked"]), "delay": delay, "shown": len(stats["delays"])}


def main() -> None:
    """Print the figures."""
    one = measure("ours", 1, first=5.0, last=5.0)
    many, peer = measure("ours", COUNT), measure("fixed", COUNT)
    assert many["shown"] == peer["shown"] == COUNT, "somebody missed a job's end"
    beside = "beside 1,000 pollers of 60 s"
    figure(f"1,000 waits: requests, {beside}", ours=many["requests"], peer=peer["requests"], unit="", at_most=0.1)
    figure(f"1,000 waits: mean delay, {beside}", ours=many["delay"], peer=peer["delay"], unit="s", at_most=0.5)
    extra = many["peak_mib"] - one["peak_mib"]
    figure("1,000 waits: memory more than one wait", ours=extra, peer=None, unit="MiB", at_most=50)
    stall = many["longest_stall"]
    figure("1,000 waits: longest hold of the loop, CPU time", ours=stall, peer=None, unit="s", at_most=0.02)
    stall = many["longest_stall_of_ours"]
    figure("1,000 waits: the same without full collections of garbage", ours=stall, peer=None, unit="s")
    figure("1,000 waits: full collections of garbage", ours=many["collections"], peer=None, unit="")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sides = {"ours": ours, "fixed": fixed}
        print(json.dumps(asyncio.run(sides[sys.argv[1]](sys.argv[2], int(sys.argv[3])))))
    else:
        main()
