"""A gateway that drops the metadata of jobs, as LiteLLM's pass-through does: what a lost reply and a retry leave.

The same is done with OpenAI's own client, which sends a create again after a lost reply.
"""

from __future__ import annotations

import time

import pytest
from support.fault_server import FaultServer, drop_after
from support.stage import TRAIN

from tuneway import InvalidSpec, JobSpec, Recipe, progress
from tuneway.flows import Retry
from tuneway.progress import News

QUICK = {"settle": 0.2, "retry": Retry(first=0.001)}
SPEC = JobSpec(model="base", training_file="file-1", suffix="router")


@pytest.fixture
def gateway(server: FaultServer) -> FaultServer:
    """It keeps no metadata, and the reply to the next create is lost."""
    server.service.keeps_metadata = False
    server.service.clock = time.time
    server.service.add_file(filename=TRAIN)
    server.fault(drop_after(), "POST", "/fine_tuning/jobs")
    return server


def live(gateway: FaultServer) -> list[str]:
    return [job["id"] for job in gateway.service.alive]


def test_openais_own_client_leaves_three_live_jobs(gateway):
    """The first call sends its create twice, and the task's retry knows nothing of either."""
    openai = pytest.importorskip("openai")
    for _ in range(2):
        with openai.OpenAI(base_url=gateway.base_url, api_key="k") as client:
            client.fine_tuning.jobs.create(model="base", training_file="file-1", metadata={"key": "nightly"})
    assert len(live(gateway)) == 3


def test_a_lost_reply_and_a_retry_leave_one(gateway, connect):
    told: list[News] = []
    with connect(base_url=gateway.base_url, **QUICK) as client:
        first = client.submit(SPEC, key="nightly", on_event=told.append)
        again = client.submit(SPEC, key="nightly", on_event=told.append)
    assert live(gateway) == [first.id] == [again.id]
    assert [news.job.id for news in told if isinstance(news, progress.JobRecognised)] == [first.id]


def test_with_the_mark_in_the_suffix_a_retry_in_another_process_leaves_one_as_well(gateway, connect):
    ids = set()
    for _ in range(3):
        with connect(base_url=gateway.base_url, service_options={"mark": "suffix"}, **QUICK) as client:
            job = client.submit(SPEC, key="nightly")
        ids.add(job.id)
        assert job.suffix == "router"
    assert live(gateway) == list(ids)


def test_a_job_in_another_process_is_cancelled_by_its_mark(gateway, connect):
    told: list[News] = []
    with connect(base_url=gateway.base_url, service_options={"mark": "suffix"}, **QUICK) as client:
        job = client.submit(SPEC, key="nightly", on_event=told.append)
    (planned,) = [news for news in told if isinstance(news, progress.CreatePlanned)]
    with connect(base_url=gateway.base_url, service_options={"mark": "suffix"}, **QUICK) as client:
        assert [gone.id for gone in client.cancel_marked(planned.mark)] == [job.id]
    assert live(gateway) == []


def test_a_suffix_without_room_for_the_mark_is_refused_by_the_check(gateway, connect, tmp_path):
    recipe = Recipe(model="base", training_data=tmp_path / "none.jsonl", suffix="x" * 32)
    with (
        connect(base_url=gateway.base_url, service_options={"mark": "suffix"}) as client,
        pytest.raises(InvalidSpec, match="32 characters leave no room") as caught,
    ):
        client.check(recipe)
    assert caught.value.field == "suffix"
    assert gateway.arrived == []


def test_an_unknown_place_for_the_mark_is_refused(connect, server):
    with (
        pytest.raises(InvalidSpec, match="mark can't be 'name'") as caught,
        connect(base_url=server.base_url, service_options={"mark": "name"}),
    ):
        pass
    assert caught.value.field == "service_options"


def test_who_insists_on_metadata_is_told_that_it_is_not_kept_each_time(gateway, connect):
    gateway.forget()
    told: list[News] = []
    with connect(base_url=gateway.base_url, service_options={"mark": "metadata"}, **QUICK) as client:
        for key in ("monday", "tuesday"):
            client.submit(SPEC, key=key, on_event=told.append)
    assert len([news for news in told if isinstance(news, progress.KeyNotKept)]) == 2
    assert [job["suffix"] for job in gateway.service.jobs] == ["router", "router"]
