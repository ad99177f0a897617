"""When the disk or the database gives way: a clear answer, nothing half done, and all is well once it is cured."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import contextmanager, suppress

import httpx
import pytest
from support.in_process import in_process
from support.openai_jobs import chats, openai_for, slow_job, wait_for
from support.service import running_service, until

from tuneway.errors import InvalidSpec
from tuneway_service.app import build_app
from tuneway_service.folder import JobFolder
from tuneway_service.multipart import Received
from tuneway_service.settings import Settings
from tuneway_service.store import database, files

FORM = {"files": {"file": ("a.jsonl", chats(20))}, "data": {"purpose": "fine-tune"}}


@pytest.fixture
def app(tmp_path):
    return build_app(Settings(data_dir=tmp_path))


@pytest.fixture
def client(app):
    with in_process(app) as made:
        yield made


def test_a_full_disk_refuses_an_upload_and_keeps_nothing_of_it(client, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Received, "store", full)
        reply = client.post("/files", **FORM)
    assert reply.status_code == 507
    assert reply.json()["error"]["code"] == "disk_full"
    assert "free some space" in reply.json()["error"]["message"]
    assert list((tmp_path / "scratch").iterdir()) == list((tmp_path / "files").iterdir()) == []
    assert (client.post("/files", **FORM)).status_code == 200


def test_a_database_that_can_grow_no_more_refuses_writes_and_still_reads(client, app, tmp_path):
    file = (client.post("/files", **FORM)).json()
    writer = app.state.service.database._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    body = {"model": "bytes", "training_file": file["id"], "metadata": {str(n): "x" * 500 for n in range(16)}}
    statuses = [(client.post("/fine_tuning/jobs", json=body)).status_code for _ in range(4)]
    assert statuses[-1] == 507
    assert (client.get(f"/files/{file['id']}")).status_code == 200
    before = (client.get("/fine_tuning/jobs")).json()["data"]
    assert len(before) == statuses.count(200)
    writer.execute("PRAGMA max_page_count = 100000000")
    assert (client.post("/fine_tuning/jobs", json=body)).status_code == 200
    known = {job["id"] for job in (client.get("/fine_tuning/jobs")).json()["data"]}
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == known


def test_a_database_that_fails_is_an_error_that_says_so_and_tells_nothing_more(client, monkeypatch):
    def broken(*_, **__):
        raise sqlite3.DatabaseError("database disk image is malformed at /secret/place")

    monkeypatch.setattr(files, "rows", broken)
    reply = client.get("/files")
    assert reply.status_code == 500
    error = reply.json()["error"]
    assert (error["code"], error["type"]) == ("storage_error", "server_error")
    assert "secret" not in reply.text


def test_a_mistake_of_ours_is_a_500_in_the_same_shape(client, monkeypatch):
    def mistaken(*_, **__):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(files, "rows", mistaken)
    reply = client.get("/files")
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal_error"
    assert "secret" not in reply.text


def test_content_that_has_gone_missing_is_an_error_and_not_a_crash(client, tmp_path):
    file = (client.post("/files", **FORM)).json()
    (tmp_path / "files" / file["id"]).unlink()
    reply = client.get(f"/files/{file['id']}/content")
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal_error"
    assert str(tmp_path) not in reply.text


@contextmanager
def held(data_dir):
    """Another program holds the database."""
    connection = sqlite3.connect(data_dir / "tuneway.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


@pytest.mark.slow
def test_while_another_program_holds_the_database_reads_go_on_and_writes_are_told_to_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 1.5)
    monkeypatch.setattr(database, "HELD_SECONDS", 0.01)
    with in_process(build_app(Settings(data_dir=tmp_path))) as client:
        with held(tmp_path):
            waits = []
            for _ in range(3):
                began = time.monotonic()
                reply = client.post("/files", **FORM)
                waits.append(time.monotonic() - began)
                assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_locked")
                assert reply.headers["retry-after"] == "5"
            assert waits[0] >= 1.5 > waits[1], "only the first one waits long"
            assert client.get("/files").json()["data"] == []
            assert list((tmp_path / "files").iterdir()) == list((tmp_path / "scratch").iterdir()) == []
        assert client.post("/files", **FORM).status_code == 200


def test_a_database_that_another_program_holds_stops_the_start_with_a_reason(tmp_path, monkeypatch):
    build_app(Settings(data_dir=tmp_path)).state.service.database.close()
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with held(tmp_path), pytest.raises(InvalidSpec, match="locked") as caught:
        build_app(Settings(data_dir=tmp_path))
    assert "Another program holds it" in str(caught.value)


def mount(folder, size):
    """A small disk of its own; skips where this user can't have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user can't mount a disk")


@pytest.mark.slow
def test_a_disk_that_is_full_while_a_job_trains_costs_no_job(tmp_path):
    disk = tmp_path / "disk"
    mount(disk, "24m")
    try:
        with running_service(disk / "data") as service, openai_for(service) as openai:
            job = slow_job(openai, epochs=20, rows=400)
            waiting = slow_job(openai, epochs=1, rows=400)
            # its state is saved at the end of each epoch
            folder = JobFolder(service.data_dir / "jobs" / job.id)
            until(lambda: folder.state() is not None)
            ballast = os.open(disk / "ballast", os.O_CREAT | os.O_WRONLY)
            with suppress(OSError):
                while True:
                    os.write(ballast, bytes(4096))
            os.close(ballast)
            until(lambda: not folder.held())
            assert httpx.post(f"{service.base_url}/files", **FORM).status_code == 507
            assert openai.fine_tuning.jobs.retrieve(job.id).status == "running"
            (disk / "ballast").unlink()
            for job_id in (job.id, waiting.id):
                assert wait_for(openai, job_id, seconds=180).status == "succeeded"
            events = openai.fine_tuning.jobs.list_events(job.id, limit=100)
            texts = [event.message for event in events if event.type == "message"]
            assert any("Resuming from step" in text for text in texts)
            assert service.stop() == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
