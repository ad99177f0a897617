"""The embedded registry's file: old ones, newer ones, other people's, locked ones."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.registries import make_record, sha256_of

from tuneway.errors import RegistryError, RegistryUnavailable
from tuneway.registry import open_registry

GOLDEN = Path(__file__).parent / "data"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models.db"


def statements(path, *lines):
    db = sqlite3.connect(path, isolation_level=None)
    answers = [db.execute(line).fetchall() for line in lines]
    db.close()
    return answers[-1]


def test_a_file_of_the_first_layout_is_migrated(path):
    shutil.copy(GOLDEN / "layout-1.db", path)
    registry = open_registry(f"sqlite:///{path}")
    assert registry.aliases("support-router") == {"champion": 2, "previous": 1}
    assert [event.by for event in registry.history("support-router")] == ["ann", "bob", "cleo"]
    assert registry.get("support-router:1").record == make_record("support-router", "a", version=1)
    found = registry.find(sha256=sha256_of("support-router validation"))
    assert [version.version for version in found] == [1, 2]
    assert registry.register(make_record("support-router", "c")).version == 3
    assert statements(path, "PRAGMA user_version") == [(2,)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(path, monkeypatch):
    shutil.copy(GOLDEN / "layout-1.db", path)
    statements(path, "UPDATE versions SET record = 'not json' WHERE version = 2")
    with pytest.raises(RegistryError, match="Nothing was changed"):
        open_registry(f"sqlite:///{path}").models()
    assert statements(path, "PRAGMA user_version") == [(1,)]
    assert statements(path, "SELECT count(*) FROM sqlite_master WHERE name = 'files'") == [(0,)]


def test_a_file_of_a_newer_layout_is_refused_and_left_alone(path):
    open_registry(f"sqlite:///{path}").register(make_record("router"))
    statements(path, "PRAGMA user_version = 99")
    with pytest.raises(RegistryError, match="has layout 99") as caught:
        open_registry(f"sqlite:///{path}").register(make_record("router", "2"))
    assert not caught.value.retryable
    assert "Upgrade" in str(caught.value)
    assert statements(path, "SELECT count(*) FROM versions") == [(1,)]


def test_another_programs_database_is_not_touched(path):
    statements(path, "CREATE TABLE dag_run (id)")
    with pytest.raises(RegistryError, match="another program's database"):
        open_registry(f"sqlite:///{path}").models()
    assert statements(path, "SELECT name FROM sqlite_master") == [("dag_run",)]


def test_a_file_that_is_no_database_is_said_to_be_none(path):
    path.write_text("name: router\n" * 100)
    with pytest.raises(RegistryError, match="not a database"):
        open_registry(f"sqlite:///{path}").models()


def test_a_locked_file_is_waited_for(path):
    registry = open_registry(f"sqlite:///{path}", busy_timeout=30)
    registry.register(make_record("router"))
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=registry.register, args=[make_record("router", "2")])
    writer.start()
    writer.join(0.1)
    assert writer.is_alive()
    assert registry.get("router").version == 1  # readers don't wait
    holder.execute("ROLLBACK")
    writer.join(30)
    holder.close()
    assert registry.get("router").version == 2


def test_a_file_that_stays_locked_is_an_error_that_can_be_retried(path):
    registry = open_registry(f"sqlite:///{path}", busy_timeout=0.05)
    registry.register(make_record("router"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegistryUnavailable, match="locked") as caught:
        registry.register(make_record("router", "2"))
    assert caught.value.retryable
    holder.close()
    assert registry.register(make_record("router", "2")).version == 2


def test_a_place_that_can_not_be_written_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError):
        open_registry(f"sqlite:///{tmp_path}/file/models.db").models()
    with pytest.raises(RegistryError):
        open_registry(f"sqlite:///{tmp_path}").models()


@pytest.mark.slow
def test_threads_make_and_share_a_registry(tmp_path):
    for turn in range(10):
        registry = open_registry(f"sqlite:///{tmp_path}/{turn}.db")
        with ThreadPoolExecutor(12) as pool:
            versions = list(pool.map(registry.register, [make_record("router", str(job)) for job in range(12)]))
        assert sorted(version.version for version in versions) == list(range(1, 13))


def test_a_record_that_can_not_be_read_is_named(path):
    registry = open_registry(f"sqlite:///{path}")
    registry.register(make_record("router"))
    statements(path, "UPDATE versions SET record = '{}'")
    with pytest.raises(RegistryError, match="the record of router:1"):
        registry.get("router")


def test_a_history_that_can_not_be_read_is_named(path):
    registry = open_registry(f"sqlite:///{path}")
    registry.register(make_record("router"))
    statements(path, "UPDATE events SET event = '{}'")
    with pytest.raises(RegistryError, match="the history of router"):
        registry.get("router")


def test_an_event_that_only_a_newer_tuneway_knows_is_shown(path):
    registry = open_registry(f"sqlite:///{path}")
    registry.register(make_record("router"))
    line = '{"seq": 2, "at": "2027-01-01T00:00:00Z", "by": "zoe", "action": "archived", "version": 1, "where": "tape"}'
    statements(path, f"INSERT INTO events VALUES ('router', 2, '{line}')")
    event = registry.history("router")[-1]
    assert (event.action, event.model_extra) == ("archived", {"where": "tape"})


@pytest.mark.parametrize(
    ("mode", "told"), [(0o700, False), (0o755, False), (0o775, False), (0o777, True), (0o757, True), (0o1777, False)]
)
def test_a_registry_that_everybody_on_the_machine_can_change_is_told_of_once(mode, told, tmp_path, caplog):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    registry = open_registry(f"sqlite:///{folder / 'models.db'}")
    registry.models()
    registry.models()
    open_to = f"the registry's folder {folder} is open to everybody on this machine, who can change what is in it"
    assert [record.getMessage() for record in caplog.records] == [f"{open_to}: chmod o-w {folder}"] * told
