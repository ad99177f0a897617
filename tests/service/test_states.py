"""The state machine, on a real database: every move from every status, any order, two at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from support.job_records import new_job

from tuneway_service.states import TABLE, TERMINAL, JobStatus, Move, WrongState, after
from tuneway_service.store import events, jobs, webhooks
from tuneway_service.store.database import Database


@pytest.fixture
def database(tmp_path: Path):
    made = Database(tmp_path / "test.db")
    yield made
    made.close()


def bring(database: Database, job_id: str, status: JobStatus) -> None:
    """Take a fresh job to a status by the shortest way."""
    ways: dict[JobStatus, list[Move]] = {JobStatus.VALIDATING: []}
    queue = [JobStatus.VALIDATING]
    for here in queue:
        for move, there in TABLE[here].items():
            if there not in ways:
                ways[there] = [*ways[here], move]
                queue.append(there)
    for move in ways[status]:
        database.write_now(jobs.move, job_id, move)


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("move", Move)
def test_a_move_is_made_or_refused_as_the_table_says(database, status, move):
    job_id = new_job(database)
    bring(database, job_id, status)
    target = TABLE[status].get(move)
    if target is None:
        with pytest.raises(WrongState) as caught:
            database.write_now(jobs.move, job_id, move)
        assert caught.value.status == status
        target = status
    else:
        database.write_now(jobs.move, job_id, move)
    row = database.read_now(jobs.find, job_id)
    assert row.status == target
    assert (row.finished_at is not None) == (target in TERMINAL)


def test_every_status_can_be_reached_and_every_live_one_can_be_cancelled():
    reached = {target for moves in TABLE.values() for target in moves.values()} | {JobStatus.VALIDATING}
    assert reached == set(JobStatus)
    assert all(after("j", status, Move.CANCEL) is JobStatus.CANCELLED for status in set(JobStatus) - TERMINAL)
    assert {"succeeded", "failed", "cancelled"} == TERMINAL


def test_of_two_that_race_one_wins(database):
    endings = []
    for _ in range(30):
        job_id = new_job(database)
        bring(database, job_id, JobStatus.RUNNING)
        start = threading.Barrier(2)
        outcomes: list[str] = []

        def act(move: Move, job_id=job_id, start=start, outcomes=outcomes) -> None:
            start.wait()
            try:
                database.write_now(jobs.move, job_id, move)
            except WrongState:
                return
            outcomes.append(move)

        racers = [threading.Thread(target=act, args=(move,)) for move in (Move.SUCCEED, Move.CANCEL)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert len(outcomes) == 1
        status = database.read_now(jobs.find, job_id).status
        assert status == after(job_id, JobStatus.RUNNING, Move(outcomes[0]))
        endings.append(status)
    assert endings


class JobsUnderway(RuleBasedStateMachine):
    """Many jobs, any moves; beside them a model of what must be true."""

    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.database = self.opened()
        self.database.write_now(
            webhooks.add,
            name="all",
            url="http://127.0.0.1/",
            event_types=webhooks.EVENT_TYPES,
            secret="whsec_" + "a" * 24,
        )
        self.expected: dict[str, JobStatus] = {}

    def opened(self) -> Database:
        database = Database(Path(self.folder.name) / "test.db")
        # nobody cuts the power here, and thousands of runs are to be had in a minute
        database._writer.execute("PRAGMA synchronous = OFF")
        return database

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @rule(target=made, metadata=st.none() | st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2))
    def create(self, metadata):
        job_id = new_job(self.database, metadata=metadata)
        self.expected[job_id] = JobStatus.VALIDATING
        return job_id

    @rule(job_id=made, move=st.sampled_from(Move))
    def move(self, job_id, move):
        status = self.expected[job_id]
        target = TABLE[status].get(move)
        try:
            self.database.write_now(jobs.move, job_id, move)
        except WrongState:
            assert target is None
        else:
            assert target is not None
            self.expected[job_id] = target

    @rule(job_id=made, move=st.sampled_from(Move))
    def a_transaction_that_breaks_changes_nothing(self, job_id, move):
        def breaks(connection):
            jobs.move(connection, job_id, move)
            raise ZeroDivisionError

        with pytest.raises((ZeroDivisionError, WrongState)):
            self.database.write_now(breaks)

    @rule()
    def the_service_is_killed_and_starts_again(self):
        # what isn't committed is lost, what is stays: the file is all there is
        self.database.close()
        self.database = self.opened()

    @invariant()
    def the_database_agrees(self):
        rows = self.database.read_now(jobs.rows, after=None, limit=1000, metadata={})
        assert {row.id: row.status for row in rows} == self.expected

    @invariant()
    def every_end_is_announced_once(self):
        def announced(connection):
            return connection.execute("SELECT event FROM deliveries").fetchall()

        ended = sorted(job_id for job_id, status in self.expected.items() if status in TERMINAL)
        told = sorted(
            row["event"].split('"data": {"id": "')[1].split('"')[0] for row in self.database.read_now(announced)
        )
        assert told == ended

    @invariant()
    def the_last_event_fits_the_status(self):
        for job_id, status in self.expected.items():
            place = self.database.read_now(jobs.find, job_id).seq
            last = self.database.read_now(events.rows, place, after=None, limit=1)[0]["message"]
            if status is JobStatus.CANCELLED:
                assert "cancelled" in last
            if status is JobStatus.SUCCEEDED:
                assert "success" in last


TestJobsUnderway = pytest.mark.timeout(900)(JobsUnderway.TestCase)
