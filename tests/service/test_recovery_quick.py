"""`--recover` on small folders: what is told, and what is made of each kind of damage."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest
from support.in_process import in_process
from support.job_records import BODY
from support.openai_jobs import chats
from support.recovering import recover
from support.service import running_service

from tuneway.errors import InvalidSpec
from tuneway_service import data_folder
from tuneway_service.app import build_app
from tuneway_service.record_files import Recorder, read, record_of_job
from tuneway_service.settings import Settings
from tuneway_service.states import Move
from tuneway_service.store import jobs
from tuneway_service.store.database import Database

SCHEMA_1 = Path(__file__).with_name("schema_1.sql")
FORM = {"files": {"file": ("mine.jsonl", chats(20))}, "data": {"purpose": "fine-tune"}}


def test_a_file_has_its_name_and_its_date_again(tmp_path):
    with in_process(build_app(Settings(data_dir=tmp_path))) as client:
        file = client.post("/files", **FORM).json()
        deleted = client.post("/files", **FORM).json()
        client.request("DELETE", f"/files/{deleted['id']}")
    (tmp_path / "tuneway.db").unlink()
    assert recover(tmp_path)[1:] == [
        "Recovered 1 files (1 from their records).",
        "Recovered 0 jobs.",
        "Recovered 0 models.",
    ]
    with in_process(build_app(Settings(data_dir=tmp_path))) as client:
        assert client.get("/files").json()["data"] == [file]
        assert client.get(f"/files/{file['id']}/content").content == chats(20)


def test_what_can_be_read_of_a_damaged_database_of_an_earlier_version_is_used(tmp_path):
    with sqlite3.connect(tmp_path / "tuneway.db") as connection:
        connection.executescript(SCHEMA_1.read_text())
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'checkpoints'").fetchone()[0]
    connection.close()
    with (tmp_path / "tuneway.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    lines = recover(tmp_path)
    assert "Recovered 4 jobs (4 from the damaged database)." in lines
    assert sum("its folder is gone" in line for line in lines) == 4
    assert sum("its content is gone" in line for line in lines) == 5
    database = Database(tmp_path / "tuneway.db")
    found = database.read_now(jobs.rows, after=None, limit=10, metadata={"ü": "ß"})
    assert [row.status for row in found] == ["succeeded"]
    database.close()


@pytest.mark.slow
def test_a_damaged_database_says_what_to_do_and_that_works(tmp_path):
    with in_process(build_app(Settings(data_dir=tmp_path))) as client:
        file = client.post("/files", **FORM).json()
    damaged = b"SQLite format 3\x00" + b"\x07" * 5000
    (tmp_path / "tuneway.db").write_bytes(damaged)
    with pytest.raises(InvalidSpec, match="Start once with --recover"):
        data_folder.check(Settings(data_dir=tmp_path))
    assert (tmp_path / "tuneway.db").read_bytes() == damaged
    with running_service(tmp_path, recover=True) as service:
        assert "Recovered 1 files (1 from their records)." in service.log
        assert httpx.get(f"{service.base_url}/files").json()["data"] == [file]
    assert [path.read_bytes() for path in tmp_path.glob("damaged/*/tuneway.db")] == [damaged]


def test_an_old_copy_of_the_database_gets_what_came_later(tmp_path):
    """Also the end of a job that it has as waiting."""
    settings = Settings(data_dir=tmp_path)
    with in_process(build_app(settings)) as client:
        file = client.post("/files", **FORM).json()
    database = Database(settings.database)
    job_id = jobs.fresh_id()
    (settings.jobs_dir / job_id).mkdir()
    database.write_now(jobs.create, id=job_id, trainer="bytes", body=BODY)
    database.close()
    copy = settings.database.read_bytes()
    database = Database(settings.database)
    database.write_now(jobs.move, job_id, Move.CANCEL)
    Recorder(database, settings).write_due()
    database.close()
    with in_process(build_app(settings)) as client:
        later = client.post("/files", **FORM).json()
    settings.database.write_bytes(copy)
    lines = recover(tmp_path)
    assert "It is whole: adding what it lacks." in lines
    assert "Recovered 1 files (1 from their records)." in lines
    assert "Recovered 1 jobs (1 from their records)." in lines
    with in_process(build_app(settings)) as client:
        assert client.get("/files").json()["data"] == [later, file]
        assert client.get(f"/fine_tuning/jobs/{job_id}").json()["status"] == "cancelled"


@pytest.fixture
def settings(tmp_path) -> Settings:
    made = Settings(data_dir=tmp_path)
    for folder in (made.files_dir, made.records_dir, made.jobs_dir):
        folder.mkdir()
    return made


def test_a_record_follows_its_job_from_status_to_status(settings):
    database = Database(settings.database)
    recorder = Recorder(database, settings)
    job_id = jobs.fresh_id()
    (settings.jobs_dir / job_id).mkdir()
    database.write_now(jobs.create, id=job_id, trainer="bytes", body=BODY)
    place = record_of_job(settings, job_id)
    for move, status in ((None, "validating_files"), (Move.ADMIT, "queued"), (Move.CANCEL, "cancelled")):
        if move is not None:
            database.write_now(jobs.move, job_id, move)
        recorder.write_due()
        assert (read(place) or {})["status"] == status
    changed = place.stat().st_mtime_ns
    recorder.write_due()
    assert place.stat().st_mtime_ns == changed, "nothing is written twice"
    database.close()


def test_a_record_that_can_not_be_written_now_is_written_later(settings, monkeypatch):
    database = Database(settings.database)
    recorder = Recorder(database, settings)
    job_id = jobs.fresh_id()
    (settings.jobs_dir / job_id).mkdir()
    database.write_now(jobs.create, id=job_id, trainer="bytes", body=BODY)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tuneway_service.record_files.replace", full)
        recorder.write_now("jobs", job_id)
        assert recorder.write_due() is False
    recorder._pause_until = 0
    recorder.write_due()
    assert (read(record_of_job(settings, job_id)) or {})["id"] == job_id
    database.close()


def test_the_record_of_a_job_whose_folder_is_gone_is_not_tried_for_ever(settings):
    database = Database(settings.database)
    recorder = Recorder(database, settings)
    database.write_now(jobs.create, id=jobs.fresh_id(), trainer="bytes", body=BODY)
    recorder.write_due()
    assert database.read_now(jobs.unrecorded, 10) == []
    database.close()
