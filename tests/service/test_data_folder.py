"""The folder that the service takes, and what it removes there: nothing that isn't its own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.in_process import in_process
from support.openai_jobs import chats
from support.service import running_service

from tuneway.errors import InvalidSpec
from tuneway_service import data_folder, storage
from tuneway_service.app import build_app
from tuneway_service.service import Service
from tuneway_service.settings import Settings
from tuneway_service.store.database import Database

SCHEMA_1 = Path(__file__).with_name("schema_1.sql")
FORM = {"files": {"file": ("a.jsonl", chats(20))}, "data": {"purpose": "fine-tune"}}


def start(data_dir: Path) -> subprocess.CompletedProcess[str]:
    """Start a service that should refuse to."""
    command = [sys.executable, "-m", "tuneway_service", "--port", "0", "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def everything(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, links as they are."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def others(tmp_path) -> Path:
    """A folder of somebody else, whose folders have the names that the service uses."""
    folder = tmp_path / "thesis"
    for name in ("files", "jobs", "uploads", "scratch"):
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "chapter.txt").write_text("three years of work")
        (folder / name / "notes.txt").write_text("more of it")
    return folder


def id_of(prefix: str, letter: str = "a") -> str:
    return prefix + letter * 24


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(others):
    before = everything(others)
    done = start(others)
    assert done.returncode == 1
    assert f"{others} isn't a data folder of Tuneway, and it isn't empty: it has files, jobs, scratch" in done.stderr
    assert "Choose a new or an empty folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert everything(others) == before


@pytest.mark.slow
def test_what_somebody_else_keeps_in_the_folder_stays(others):
    """For example because the folders were copied into the data folder later."""
    kept = everything(others)
    data_folder.label(others)
    with running_service(others) as service:
        assert service.stop() == 0
        service.start()
    assert kept.items() <= everything(others).items()


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("models.db", "models.db-wal"),  # the model registry, whose default place this is
        ("lost+found",),  # a disk of its own
        ("service.lock", ".tuneway-data.txt.x1y2"),  # a service that was killed at its first start
    ],
)
def test_a_folder_that_is_new_or_as_good_as_empty_is_taken(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    settings = Settings(data_dir=tmp_path)
    data_folder.check(settings)
    data_folder.check(Settings(data_dir=tmp_path / "none" / "yet"))
    data_folder.label(tmp_path)
    (tmp_path / "my-notes.txt").touch()
    data_folder.check(settings)


@pytest.mark.slow
def test_a_data_folder_of_an_earlier_version_is_taken_and_marked(tmp_path):
    with sqlite3.connect(tmp_path / "tuneway.db") as connection:
        connection.executescript(SCHEMA_1.read_text())
    connection.close()
    (tmp_path / "my-notes.txt").write_text("kept")
    with running_service(tmp_path) as service:
        assert (tmp_path / data_folder.LABEL).read_text() == data_folder.TEXT
        service.stop()
    assert (tmp_path / "my-notes.txt").read_text() == "kept"


def test_another_program_s_database_is_refused_and_left_as_it_is(tmp_path):
    with sqlite3.connect(tmp_path / "tuneway.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    before = everything(tmp_path)
    for recover in (False, True):
        with pytest.raises(InvalidSpec, match="isn't a data folder of Tuneway"):
            data_folder.check(Settings(data_dir=tmp_path), recover=recover)
    assert everything(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "an empty file"])
@pytest.mark.parametrize("marked", [True, False])
def test_files_and_jobs_without_a_database_stop_the_start_and_stay(tmp_path, marked, left):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / id_of("file-")).write_bytes(chats(20))
    (tmp_path / "jobs" / id_of("ftjob-") / "model").mkdir(parents=True)
    if marked:
        data_folder.label(tmp_path)
    if left == "an empty file":
        (tmp_path / "tuneway.db").touch()
    before = everything(tmp_path)
    done = start(tmp_path)
    assert done.returncode == 1
    assert "has files or jobs, but no database" in done.stderr
    assert "--recover" in done.stderr
    assert everything(tmp_path) == before
    data_folder.check(Settings(data_dir=tmp_path), recover=True)


def test_a_new_database_removes_nothing(tmp_path):
    settings = Settings(data_dir=tmp_path)
    for place in (settings.files_dir / id_of("file-"), settings.jobs_dir / id_of("ftjob-") / "model" / "x"):
        place.parent.mkdir(parents=True)
        place.write_text("kept")
    settings.uploads_dir.mkdir()
    (settings.uploads_dir / id_of("upload_")).mkdir()
    settings.scratch_dir.mkdir()
    for name in (id_of("scratch_"), id_of("file-") + ".new", id_of("ftjob-") + ".new"):
        (settings.scratch_dir / name).touch()
    before = everything(tmp_path)
    service = Service(settings)
    service.tidy()
    service.database.close()
    assert before.items() <= everything(tmp_path).items()


def test_an_old_copy_of_the_database_removes_nothing_that_came_later(tmp_path):
    """The database was put back from a backup, and knows less than the folders have."""
    app = build_app(Settings(data_dir=tmp_path))
    with in_process(app):
        pass
    backup = (tmp_path / "tuneway.db").read_bytes()
    with in_process(build_app(Settings(data_dir=tmp_path))) as client:
        file_id = client.post("/files", **FORM).json()["id"]
    (tmp_path / "tuneway.db").write_bytes(backup)
    with in_process(build_app(Settings(data_dir=tmp_path))) as client:
        assert client.get(f"/files/{file_id}").status_code == 404
    assert (tmp_path / "files" / file_id).read_bytes() == chats(20)


def test_links_are_never_followed(tmp_path):
    """Even those that have the name of something unfinished."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "chapter.txt").write_text("three years of work")
    settings = Settings(data_dir=data)
    data.mkdir()
    Database(settings.database).close()
    for folder in (settings.files_dir, settings.jobs_dir, settings.uploads_dir, settings.scratch_dir):
        folder.mkdir()
    for place, prefix in (
        (settings.files_dir, "file-"),
        (settings.jobs_dir, "ftjob-"),
        (settings.scratch_dir, "scratch_"),
    ):
        (place / id_of(prefix)).symlink_to(elsewhere)
        (settings.scratch_dir / f"{id_of(prefix)}.new").touch()
    with in_process(build_app(settings)):
        pass
    assert (settings.jobs_dir / id_of("ftjob-")).is_symlink()
    assert everything(elsewhere) == {"chapter.txt": b"three years of work"}


def test_a_job_storage_with_jobs_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "share" / "jobs" / "2025").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    settings = Settings(data_dir=tmp_path / "data", job_storage=tmp_path / "share")
    with pytest.raises(InvalidSpec, match="isn't empty"):
        storage.settle(settings)
    assert not (tmp_path / "share" / storage.OWNER).exists()
