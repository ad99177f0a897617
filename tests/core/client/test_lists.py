"""Lists page by themselves, and are left early without a trace."""

from __future__ import annotations

import asyncio
import gc

import pytest
from blockbuster import blockbuster_ctx
from support import fault_server as faults

from tuneway import AsyncClient, Client
from tuneway.errors import ConnectionLost
from tuneway.flows import Retry


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("limit", [None, 1, 7, 100])
def test_a_list_gives_all_once_and_in_order(limit, tells, connect, server):
    server.service.tells_has_more = tells
    for number in range(45):
        server.service.add_job(metadata={"n": str(number)})
        server.service.add_file()
        server.service.add_event("ftjob-1", str(number))
    with connect(base_url=server.base_url) as client:
        assert [job.id for job in client.jobs.list(limit=limit)] == [f"ftjob-{n}" for n in range(45, 0, -1)]
        assert len([file.id for file in client.files.list(limit=limit)]) == 45
        assert [event.message for event in client.jobs.events("ftjob-1", limit=limit)] == [
            str(number) for number in range(44, -1, -1)
        ]
    pages = -(-45 // (limit or 20)) + (not tells)
    assert len(server.asked("GET", "/fine_tuning/jobs")) == pages


def test_no_pairs_mean_the_jobs_without_metadata_whoever_filters(connect, server):
    server.service.add_job(metadata={"team": "a"})
    server.service.add_job(metadata=None)
    server.service.add_job(metadata={})
    with connect(base_url=server.base_url) as client:
        assert [job.id for job in client.jobs.list(metadata={})] == ["ftjob-3", "ftjob-2"]
    assert server.arrived[0].query == "metadata=null"


def test_no_page_is_fetched_before_it_is_needed(connect, server):
    for _ in range(45):
        server.service.add_job()
    with connect(base_url=server.base_url) as client:
        jobs = client.jobs.list(limit=10)
        assert server.arrived == []
        for _ in range(10):
            next(jobs)
        assert len(server.arrived) == 1
        next(jobs)
        assert [arrival.query for arrival in server.arrived] == ["limit=10", "after=ftjob-36&limit=10"]
        jobs.close()


def test_models_are_one_page_and_asked_for_once(connect, server):
    with connect(base_url=server.base_url) as client:
        assert [model.id for model in client.models.list()] == ["base"]
    assert len(server.arrived) == 1


def test_a_list_that_is_left_early_leaves_nothing_open(server):
    for _ in range(45):
        server.service.add_job()
    with Client(base_url=server.base_url) as client:
        for lists in (client.jobs.list(metadata={}), client.jobs.list(), client.files.list()):
            for _job in lists:
                break
        del lists
        gc.collect()
        assert server.connections == 1
        assert client.jobs.retrieve("ftjob-1").id == "ftjob-1"
    assert server.connections == 1


async def test_an_asyncio_list_that_is_left_early_leaves_nothing_open(server):
    for _ in range(45):
        server.service.add_job()
    async with AsyncClient(base_url=server.base_url) as client:
        with blockbuster_ctx():
            for jobs in (client.jobs.list(metadata={}), client.jobs.list()):
                async for _job in jobs:
                    break
            del jobs
            gc.collect()
            await asyncio.sleep(0)
            assert (await client.jobs.retrieve("ftjob-1")).id == "ftjob-1"
    assert server.connections == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_an_asyncio_list_may_be_left_by_the_end_of_the_loop(server):
    for _ in range(45):
        server.service.add_job()

    async def main() -> None:
        client = AsyncClient(base_url=server.base_url)
        async for _job in client.jobs.list():
            break
        await client.aclose()

    asyncio.run(main())
    gc.collect()  # a generator that nobody closed would be told now


def test_a_page_that_fails_for_good_raises_in_the_middle(connect, server):
    for _ in range(45):
        server.service.add_job()
    server.fault(faults.honest(), "GET")
    server.fault(faults.drop_before(), "GET", times=9)
    with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client:
        jobs = client.jobs.list()
        assert [next(jobs).id for _ in range(20)] == [f"ftjob-{n}" for n in range(45, 25, -1)]
        with pytest.raises(ConnectionLost):
            next(jobs)


def test_a_page_that_fails_once_is_asked_for_again(connect, server):
    for _ in range(45):
        server.service.add_job()
    server.fault(faults.drop_before(), "GET")
    with connect(base_url=server.base_url, retry=Retry(first=0.001)) as client:
        assert len(list(client.jobs.list())) == 45
    assert len(server.arrived) == 4


def test_result_metrics_are_decoded(connect, server):
    from support.fake_service import result_csv

    server.service.add_job(result_files=["file-1"])
    server.service.finish("ftjob-1", "succeeded")
    for content in (
        result_csv("1,2.5,0.5,,", "2,2.0,0.6,2.25,0.4"),
        b"step,valid_loss,train_loss\n1,,2.5\n2,2.25,2.0\n",
    ):
        server.service.files.clear()
        file = server.service.add_file()
        server.service.contents[file["id"]] = content
        with connect(base_url=server.base_url) as client:
            rows = client.result_metrics("ftjob-1")
        assert [(row.step, row.train_loss, row.valid_loss) for row in rows] == [(1, 2.5, None), (2, 2.0, 2.25)]
