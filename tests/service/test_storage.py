"""When the disk or the database gives way: a clear answer, nothing half done, and all is well once it is cured."""

from __future__ import annotations

import errno
import sqlite3

import pytest
from support.in_process import in_process
from support.openai_jobs import chats

from tuneway_service.app import build_app
from tuneway_service.multipart import Received
from tuneway_service.settings import Settings
from tuneway_service.store import files

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
