"""The store: one file that survives, upgrades, and stays fast when it is full."""

from __future__ import annotations

import sqlite3

import pytest
from support.job_records import BODY

from tuneway.errors import InvalidSpec
from tuneway_service.refusals import Refusal
from tuneway_service.states import JobStatus
from tuneway_service.store import events, files, jobs
from tuneway_service.store.database import Database


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "test.db")
    yield made
    made.close()


def fill(database: Database, count: int) -> None:
    """Finished jobs, a tenth of them of one project."""
    body = BODY.encode()

    def act(connection: sqlite3.Connection) -> None:
        connection.executemany(
            "INSERT INTO jobs (seq, id, created_at, status, trainer, plain, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (number, f"ftjob-{number:024}", number, JobStatus.SUCCEEDED, "bytes", number % 10 != 0, body)
                for number in range(1, count + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO job_metadata VALUES ('project', ?, ?)",
            ((f"p{number % 100}", number) for number in range(10, count + 1, 10)),
        )

    database.write_now(act)


def steps_of(database: Database, function, *args, **kwargs) -> int:
    """How much work a read is, in instructions of SQLite's machine: the same on every computer."""
    count = 0

    def act(connection: sqlite3.Connection) -> None:
        nonlocal count

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        connection.set_progress_handler(tick, 1)
        try:
            function(connection, *args, **kwargs)
        finally:
            connection.set_progress_handler(None, 0)

    database.read_now(act)
    return count


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (jobs.get, {"job_id": f"ftjob-{50:024}"}),
        (jobs.rows, {"after": None, "limit": 20, "metadata": {}}),
        (jobs.rows, {"after": f"ftjob-{90:024}", "limit": 20, "metadata": {}}),
        (jobs.rows, {"after": None, "limit": 2, "metadata": {"project": "p50"}}),
        (jobs.rows, {"after": None, "limit": 20, "metadata": {"project": "nobody's"}}),
        (jobs.rows, {"after": None, "limit": 20, "metadata": {}, "plain": True}),
        (jobs.places_in, {"status": JobStatus.VALIDATING}),
        (jobs.next_queued, {}),
        (jobs.occupied, {}),
    ],
    ids=lambda value: value.__name__ if callable(value) else ",".join(value),
)
def test_a_look_costs_the_same_among_a_hundred_jobs_and_a_hundred_times_as_many(tmp_path, function, arguments):
    costs = []
    for count in (200, 20_000):
        database = Database(tmp_path / f"{count}.db")
        fill(database, count)
        costs.append(steps_of(database, function, **arguments))
        database.close()
    assert costs[1] <= costs[0] * 1.2 + 20


def test_reads_see_one_moment(database):
    fill(database, 3)

    def look_twice(connection):
        before = len(jobs.rows(connection, after=None, limit=10, metadata={}))
        database.write_now(jobs.create, id=jobs.fresh_id(), trainer="bytes", body=BODY)
        return before, len(jobs.rows(connection, after=None, limit=10, metadata={}))

    assert database.read_now(look_twice) == (3, 3)
    assert len(database.read_now(jobs.rows, after=None, limit=10, metadata={})) == 4


def test_an_event_with_a_mark_is_told_once(database):
    fill(database, 1)
    for _ in range(2):
        database.write_now(events.add, 1, "Step 1", data={"step": 1}, mark="step:1")
        database.write_now(events.add, 1, "no mark")
    messages = [row["message"] for row in database.read_now(events.rows, 1, after=None, limit=10)]
    assert messages == ["no mark", "no mark", "Step 1"]


def test_a_page_comes_after_an_entry_of_the_same_list_whatever_became_of_it(database):
    fill(database, 2)
    for number in range(6):
        database.write_now(events.add, number % 2 + 1, f"{number}")
        database.write_now(files.add, id=f"file-{number}", filename="f", purpose="batch", size=1, sha256="")
    database.write_now(files.delete, "file-3")

    newest, *_ = database.read_now(events.rows, 1, after=None, limit=1)
    assert [row["message"] for row in database.read_now(events.rows, 1, after=newest["id"], limit=5)] == ["2", "0"]
    with pytest.raises(Refusal) as caught:
        database.read_now(events.rows, 2, after=newest["id"], limit=5)
    assert caught.value.status == 404

    how = {"purpose": "batch", "after": "file-3", "limit": 1}
    for newest_first, found in ((True, ["file-2", "file-1"]), (False, ["file-4", "file-5"])):
        rows = database.read_now(files.rows, newest_first=newest_first, **how)
        assert [row["id"] for row in rows] == found, "one more than the page, which says that there is more"


def test_only_the_newest_checkpoints_stay(database):
    fill(database, 1)
    for step in (10, 20, 30, 40, 40):
        database.write_now(events.add_checkpoint, 1, step=step, model=f"ft:{step}", metrics={}, at=1)
        database.write_now(events.drop_old_checkpoints, 1)
    kept = database.read_now(events.checkpoint_rows, 1, after=None, limit=10)
    assert [row["step"] for row in kept] == [40, 30, 20]


def test_what_expires_is_forgotten(database, monkeypatch):
    for number, seconds in ((1, 3600), (2, None)):
        database.write_now(
            files.add, id=f"file-{number}", filename="f", purpose="batch", size=1, sha256="", expires_after=seconds
        )
    assert database.read_now(files.expired) == []
    monkeypatch.setattr(files, "now", lambda: 10**10)
    assert database.read_now(files.find, "file-1") is None
    assert [
        row["id"] for row in database.read_now(files.rows, purpose=None, after=None, limit=9, newest_first=True)
    ] == ["file-2"]
    assert database.read_now(files.expired) == ["file-1"]
    database.write_now(files.expire, "file-1")
    assert database.read_now(files.expired) == []
    assert database.read_now(files.deleted_ids) == {"file-1"}


def test_a_database_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "test.db"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InvalidSpec, match="newer version") as caught:
        Database(path)
    assert "Upgrade tuneway" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"this is no database, it is a letter to a friend" * 100, b"SQLite format 3\x00" + b"\x07" * 5000]
)
def test_a_file_that_is_no_database_is_refused_clearly_and_left_alone(tmp_path, content):
    path = tmp_path / "test.db"
    path.write_bytes(content)
    with pytest.raises(InvalidSpec, match="can't use the database") as caught:
        Database(path)
    assert "Start once with --recover" in str(caught.value)
    assert path.read_bytes() == content
