"""A storm of 429s with a thousand waiters: what the server sees, beside what it allows.

The server allows so many requests a second (a token bucket of one second), and for a while none at all.
Every request counts as seen, refused ones too. The peer is the same thousand waits as sleep loops that back
off by `retry-after`, each on its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import httpx
from _figures import figure
from _jobs_server import jobs_server

COUNT = 1000
PER_SECOND = 5
STORM = (4.0, 10.0)
FIRST, LAST = 2.0, 25.0
WINDOWS = (1.0, 5.0, 20.0)


async def ours(root: str) -> None:
    """One client, a thousand waits, on the schedule for a service that isn't on this machine."""
    from tuneway import AsyncClient, Poll

    client = AsyncClient(base_url=f"{root}/v1", poll=Poll(minimum=1.0, maximum=5.0))
    client._watcher._account = dataclasses.replace(client._account, local=False)  # noqa: SLF001 - see above
    async with client:
        await asyncio.gather(*(client.wait(f"ftjob-{number}") for number in range(COUNT)))


async def alone(root: str) -> None:
    """Each waiter on its own, polite as far as it can know."""
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=100), timeout=600) as http:

        async def poll(number: int) -> None:
            await asyncio.sleep(number / COUNT * 5.0)
            while True:
                reply = await http.get(f"{root}/v1/fine_tuning/jobs/ftjob-{number}")
                if reply.status_code == 429:
                    await asyncio.sleep(float(reply.headers["retry-after"]))
                elif reply.json()["status"] == "succeeded":
                    return
                else:
                    await asyncio.sleep(5.0)

        tasks = [asyncio.create_task(poll(number)) for number in range(COUNT)]
        await asyncio.wait(tasks, timeout=LAST + 10)  # most never get through
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def worst_excess(asked: Sequence[float]) -> float:
    """The most that any window saw, as a share of what the bucket allows in such a window."""
    worst, moments = 0.0, sorted(asked)
    for window in WINDOWS:
        start = 0
        for end, moment in enumerate(moments):
            while moments[start] < moment - window:
                start += 1
            worst = max(worst, (end - start + 1) / (PER_SECOND + PER_SECOND * window))
    return worst


def measure(who: str) -> dict[str, Any]:
    """Run one side in a fresh process against a fresh server."""
    with jobs_server(count=COUNT, first=FIRST, last=LAST, per_second=PER_SECOND, storm=STORM) as root:
        subprocess.run([sys.executable, __file__, who, root], check=True)
        return dict(httpx.get(f"{root}/stats", trust_env=False).json())


def main() -> None:
    """Print the figures."""
    mine, peer = measure("ours"), measure("alone")
    seen, seen_alone = worst_excess(mine["asked"]), worst_excess(peer["asked"])
    name = f"429 storm, 1,000 waiters, {PER_SECOND} requests a second allowed"
    figure(
        f"{name}: the most seen in a window, as a share of what is allowed", ours=seen, peer=None, unit="", at_most=1.05
    )
    figure(f"{name}: that share, beside waiters on their own", ours=seen, peer=seen_alone, unit="", at_most=1.0)
    figure(f"{name}: waits that recovered", ours=len(mine["delays"]), peer=None, unit="", at_least=COUNT)
    print(json.dumps({"requests": [len(mine["asked"]), len(peer["asked"])]}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run({"ours": ours, "alone": alone}[sys.argv[1]](sys.argv[2]))
    else:
        main()
