"""No request ever blocks the event loop: the whole application in this process, every route, blockbuster watching."""

from __future__ import annotations

import asyncio
import mimetypes
import threading

import anyio
import httpx
import pytest
from blockbuster import BlockBuster
from support.openai_jobs import chats

from tuneway_service.app import build_app
from tuneway_service.settings import Settings


@pytest.fixture
def watched():
    """Anything that blocks in a coroutine raises."""
    mimetypes.init()  # the client reads the system's tables on first use
    buster = BlockBuster()
    buster.activate()
    yield
    buster.deactivate()


@pytest.fixture
def app(tmp_path):
    return build_app(Settings(data_dir=tmp_path / "data", models={"gpt-4o-mini": "bytes"}))


async def follow(client: httpx.AsyncClient, path: str):
    for _ in range(2000):
        job = (await client.get(path)).json()
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
        await anyio.sleep(0.01)
    raise AssertionError(path)


async def test_no_route_blocks_the_loop(app, watched):
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/v1") as client,
    ):
        files = {"file": ("a.jsonl", chats(40))}
        file = (await client.post("/files", files=files, data={"purpose": "fine-tune"})).raise_for_status().json()
        upload = (
            await client.post(
                "/uploads",
                json={"bytes": file["bytes"], "filename": "b.jsonl", "mime_type": "x", "purpose": "fine-tune"},
            )
        ).json()
        part = (await client.post(f"/uploads/{upload['id']}/parts", files={"data": chats(40)})).json()
        done = await client.post(f"/uploads/{upload['id']}/complete", json={"part_ids": [part["id"]]})
        assert done.json()["status"] == "completed"
        body = {"model": "gpt-4o-mini", "training_file": file["id"]}
        job = (await client.post("/fine_tuning/jobs", json=body, headers={"idempotency-key": "k"})).json()
        place = f"/fine_tuning/jobs/{job['id']}"
        job = await follow(client, place)
        assert job["status"] == "succeeded", job
        ask = {"model": job["fine_tuned_model"], "messages": [{"role": "user", "content": "my phone"}]}
        assert (await client.post("/chat/completions", json=ask)).status_code == 200
        assert (await client.post("/chat/completions", json=ask | {"stream": True})).status_code == 200
        grader = {"type": "string_check", "name": "g", "input": "a", "reference": "a", "operation": "eq"}
        run = {"grader": grader, "model_sample": "x"}
        assert (await client.post("/fine_tuning/alpha/graders/run", json=run)).json()["reward"] == 1
        hook = {"name": "n", "url": "http://127.0.0.1:1/", "event_types": ["fine_tuning.job.failed"]}
        assert (await client.post("/webhook_endpoints", json=hook)).status_code == 200
        for path in (
            "/files",
            f"/files/{file['id']}",
            f"/files/{file['id']}/content",
            f"{place}/events",
            f"{place}/checkpoints",
            "/fine_tuning/jobs?metadata[a]=b",
            "/models",
            f"/models/{job['fine_tuned_model']}",
            "/webhook_endpoints",
        ):
            assert (await client.get(path)).status_code == 200, path
        assert (await client.delete(f"/models/{job['fine_tuned_model']}")).status_code == 200
        assert (await client.delete(f"/files/{file['id']}")).status_code == 200
        assert (await client.post(f"{place}/cancel")).status_code == 400


async def test_the_watch_would_notice(watched):
    import time

    from blockbuster import BlockingError

    async def blocks() -> None:
        time.sleep(0.001)  # noqa: ASYNC251 - that is the point

    with pytest.raises(BlockingError):
        await asyncio.ensure_future(blocks())


async def test_a_slow_disk_keeps_nobody_else_waiting(app, monkeypatch):
    """While one request sits in a slow transaction, others are answered."""
    from tuneway_service.store import jobs

    slow, answered = anyio.Event(), threading.Event()
    real = jobs.rows

    def slow_rows(connection, **options):
        anyio.from_thread.run_sync(slow.set)
        answered.wait(4)
        return real(connection, **options)

    monkeypatch.setattr(jobs, "rows", slow_rows)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/v1") as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.get, "/fine_tuning/jobs")
        await slow.wait()
        with anyio.fail_after(3):
            assert (await client.get("/files")).status_code == 200
        answered.set()
