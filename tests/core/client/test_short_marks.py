"""Jobs that show too little of their mark to say who asked for them: the outputs of steps, and marks, tell it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from support.fault_server import FaultServer
from support.short_marks import JOBS, SERVICE, TRAINING, serving, statuses
from support.vendors.fireworks import Fireworks
from support.vendors.fireworks_client import SPEC as FIREWORKS_SPEC
from support.vendors.fireworks_client import open_client
from support.vendors.nebius import Nebius

from tuneway import AsyncClient, JobSpec, Requester
from tuneway.flows import made_by, made_within
from tuneway.progress import CreatePlanned
from tuneway.steps import as_made, job_summary

SPEC = JobSpec(**TRAINING)
ME, OTHER = Requester(pipeline="p", run="1", step="s"), Requester(pipeline="p", run="2", step="s")


@pytest.fixture
def together():
    with serving() as server:
        yield server


@pytest.fixture
def client(connect, together):
    with connect(base_url=together.base_url, **SERVICE) as client:
        yield client


def submitted(client, requester, **more):
    """A job, and what was planned before it was created."""
    planned: list[CreatePlanned] = []

    def hear(news):
        if isinstance(news, CreatePlanned):
            planned.append(news)

    return client.submit(SPEC, requester=requester, on_event=hear, **more), planned


@pytest.mark.parametrize("reuse", [pytest.param("run", marks=pytest.mark.slow), "never", "content"])
def test_a_requesters_jobs_are_cancelled_by_the_marks_that_were_told(client, together, connect, reuse):
    _, planned = submitted(client, ME, reuse=reuse)
    submitted(client, OTHER)
    with connect(base_url=together.base_url, **SERVICE) as elsewhere:
        elsewhere.cancel_made_by(ME.origin, marks=[news.mark for news in planned])
    assert statuses(together) == ["cancelled", "pending"]


def test_news_of_a_create_say_whether_the_job_will_show_who_asked(client, connect):
    _, (planned,) = submitted(client, ME)
    assert not planned.origin_kept
    for dialect, service in (("openai", None), ("nebius", Nebius())):
        with FaultServer(service) as server:
            file = server.service.add_file()["id"]
            with connect(base_url=server.base_url, dialect=dialect, settle=0.0) as other:
                told: list[object] = []
                other.submit(JobSpec(model="m", training_file=file), requester=ME, on_event=told.append)
        assert [news.origin_kept for news in told if isinstance(news, CreatePlanned)] == [True]


def test_what_a_listener_does_with_a_mark_is_done_before_the_create_is_sent(together):
    kept: list[tuple[str, int]] = []

    async def keep(mark: str) -> None:
        await asyncio.sleep(0)
        kept.append((mark, len(together.asked("POST", JOBS))))

    async def main() -> None:
        async with AsyncClient(base_url=together.base_url, **SERVICE) as client:
            await client.submit(
                SPEC, requester=ME, on_event=lambda news: keep(news.mark) if isinstance(news, CreatePlanned) else None
            )

    asyncio.run(main())
    ((_, sent),) = kept
    assert sent == 0


@pytest.mark.parametrize("reuse", ["run", "never"])
def test_the_output_of_a_create_tells_whose_the_job_is(client, reuse):
    by = Requester(pipeline="p", run="1", step="s", occasion="first try")
    job, _ = submitted(client, by, reuse=reuse)
    output = json.loads(json.dumps(job_summary(job, SPEC, by=by)))
    shown = client.jobs.retrieve(job.id)
    assert not made_by(shown, by)
    assert made_by(as_made(shown, output), by)
    assert made_by(as_made(shown, job_summary(shown, output)), by)
    assert not made_by(as_made(shown, output), OTHER)


def test_an_output_tells_nothing_of_another_job_or_of_one_that_another_made(client):
    job, _ = submitted(client, ME)
    another, _ = submitted(client, OTHER)
    output = job_summary(job, SPEC, by=ME)
    assert not made_by(as_made(client.jobs.retrieve(another.id), output), ME)
    assert "made" not in job_summary(job, SPEC, by=OTHER)
    assert "made" not in job_summary(job, SPEC)


def test_an_output_tells_who_asked_where_a_job_shows_only_the_beginning_of_that():
    with FaultServer(Fireworks(), prefix="") as server:
        server.service.add_dataset("ds-1")
        by = Requester(engine="airflow", pipeline="nightly_fine_tuning", run="scheduled__2026-11-30T00:00:00", step="s")
        with open_client(server) as client:
            output = job_summary(client.submit(FIREWORKS_SPEC, requester=by), FIREWORKS_SPEC, by=by)
            shown = client.jobs.retrieve(output["job_id"])
    run = replace(by, step=None)
    assert made_within(as_made(shown, output), run)
    assert not made_within(as_made(shown, output), replace(run, run="scheduled__2026-12-01T00:00:00"))


def test_a_job_that_shows_who_asked_needs_no_more_in_the_output(connect, server):
    file = server.service.add_file()["id"]
    with connect(base_url=server.base_url, settle=0.0) as client:
        spec = JobSpec(model="m", training_file=file)
        assert "made" not in job_summary(client.submit(spec, requester=ME), spec, by=ME)


def test_a_version_is_registered_with_who_asked_for_its_job(client, together, tmp_path):
    job, _ = submitted(client, ME)
    together.service.finish(job.id)
    output = job_summary(job, SPEC, by=ME)
    version = client.register(output, name="router", registry=f"sqlite:///{tmp_path / 'models.db'}")
    assert version.record.origin is not None
    assert ME.origin in version.record.origin.model_dump().values()
