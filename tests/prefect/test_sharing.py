"""Many waits in one flow: one connection, one poll."""

from __future__ import annotations

import asyncio
import threading

import pytest
from prefect import flow, unmapped

from prefect_tuneway import _room, await_for_fine_tuning_job, wait_for_fine_tuning_job
from tuneway.progress import News

COUNT = 20


@pytest.mark.parametrize(
    "wait",
    [wait_for_fine_tuning_job, pytest.param(await_for_fine_tuning_job, marks=pytest.mark.slow)],
    ids=["sync", "async"],
)
def test_waits_of_one_flow_share_a_connection_and_a_poll(server, credentials, wait):
    ids = [server.service.add_job(status="running")["id"] for _ in range(COUNT)]
    waiting = threading.Event()

    @flow
    def many():
        futures = wait.map(ids, credentials=unmapped(credentials))
        # all have joined when one page of the list shows them all, and the poll goes on
        while len(server.asked("GET", "/fine_tuning/jobs")) < 2:
            waiting.wait(0.05)
        server.forget()
        while len(server.asked("GET", "/fine_tuning/jobs")) < 3:
            waiting.wait(0.05)
        looks, connections = len(server.asked("GET", "/fine_tuning/jobs/[^/]+")), server.open_connections
        for job_id in ids:
            server.service.finish(job_id)
        futures.wait()
        return looks, connections

    looks, connections = many()
    assert looks < COUNT  # three rounds of looks, one by one, would be three times as many
    assert connections <= 2


@pytest.mark.parametrize("ticks", range(8))
async def test_an_awaited_step_is_given_up_though_news_come_at_that_very_moment(server, credentials, ticks):
    tells = asyncio.Queue()
    here = asyncio.get_running_loop()

    async def work(_client, tell):
        here.call_soon_threadsafe(tells.put_nowait, tell)
        await asyncio.Event().wait()

    step = asyncio.create_task(_room.aserve(credentials.client_settings(), work, lambda _batch: None))
    tell = await tells.get()
    tell(News())
    for _ in range(ticks):
        await asyncio.sleep(0)
    step.cancel()
    done, _ = await asyncio.wait([step], timeout=10)
    assert done
    assert step.cancelled()
