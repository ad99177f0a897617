"""A clock that jumps, by hours or by years: nothing is lost by it."""

from __future__ import annotations

import time
from itertools import count

import pytest
from support.job_records import BODY
from support.openai_jobs import chats

from tuneway_service import expiry, worker
from tuneway_service.expiry import GRACE_SECONDS, Expiry
from tuneway_service.folder import JobFolder
from tuneway_service.service import Service
from tuneway_service.settings import Settings
from tuneway_service.states import Move
from tuneway_service.store import files, jobs, replays, webhooks
from tuneway_service.store.database import Database

YEAR = 365 * 24 * 3600


class Clocks:
    """The clock on the wall, which jumps, and the one that counts seconds."""

    def __init__(self) -> None:
        self.wall = time.time()
        self.steady = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch) -> Clocks:
    made = Clocks()
    for module in (files, replays, webhooks, jobs):
        monkeypatch.setattr(module, "now", lambda: int(made.wall))
    return made


@pytest.fixture
def service(tmp_path, clocks):
    made = Service(Settings(data_dir=tmp_path))
    made.expiry = Expiry(made.database, clock=lambda: clocks.steady)
    yield made
    made.database.close()


def test_a_file_that_expires_while_the_clock_is_wrong_is_there_again_when_it_is_right(service, clocks):
    fact = {"filename": "f", "purpose": "batch", "size": 1, "sha256": ""}
    service.database.write_now(files.add, id="file-1", expires_after=3600, **fact)
    content = service.settings.files_dir / "file-1"
    content.write_bytes(b"x")
    upload = service.database.write_now(files.add_upload, filename="f", purpose="batch", size=1, file_expires_after=0)
    service.database.write_now(replays.once, "key", "print", lambda _: {"id": "ftjob-1"})
    clocks.wall += YEAR
    for _ in range(10):
        service.tidy()
        clocks.pass_by(60)
    assert service.database.read_now(files.find, "file-1") is None
    clocks.wall -= YEAR
    service.tidy()
    assert service.database.read_now(files.find, "file-1") is not None
    assert content.read_bytes() == b"x"
    assert service.database.read_now(files.upload, upload["id"])["status"] == "pending"
    assert service.database.read_now(replays.earlier, "key", "print") == {"id": "ftjob-1"}, "one key, one job"


def test_what_stays_expired_is_removed(service, clocks):
    fact = {"filename": "f", "purpose": "batch", "size": 1, "sha256": ""}
    service.database.write_now(files.add, id="file-1", expires_after=3600, **fact)
    content = service.settings.files_dir / "file-1"
    content.write_bytes(b"x")
    clocks.pass_by(3601)
    service.tidy()
    assert content.exists()
    clocks.pass_by(GRACE_SECONDS)
    service.tidy()
    assert not content.exists()
    assert service.database.read_now(files.deleted_ids) == {"file-1"}
    clocks.pass_by(replays.KEPT_SECONDS)
    assert expiry.Expiry(service.database).run() == []


def test_a_webhook_that_was_put_off_while_the_clock_was_ahead_does_not_wait_for_years(tmp_path, clocks):
    database = Database(tmp_path / "test.db")
    kinds = ["fine_tuning.job.failed"]
    endpoint = database.write_now(webhooks.add, name="n", url="http://x/", event_types=kinds)["id"]
    clocks.wall += YEAR
    delivery = database.write_now(webhooks.queue, endpoint, kinds[0], {"id": "ftjob-1"})
    database.write_now(webhooks.note, delivery, next_at=clocks.wall + 60)
    clocks.wall -= YEAR
    assert [row["id"] for row in database.read_now(webhooks.due, clocks.wall, 5)] == [delivery]
    database.write_now(webhooks.note, delivery, next_at=clocks.wall + 60)
    assert database.read_now(webhooks.due, clocks.wall, 5) == []
    database.close()


def test_a_job_that_ends_before_it_began_by_the_clock_ends_when_it_began(tmp_path, clocks):
    database = Database(tmp_path / "test.db")
    job_id = database.write_now(jobs.create, id=jobs.fresh_id(), trainer="bytes", body=BODY)["id"]
    clocks.wall -= YEAR
    row = database.write_now(jobs.move, job_id, Move.CANCEL)
    assert row.finished_at == row.created_at
    database.close()


def test_a_worker_measures_its_time_and_reports_its_progress_whatever_the_clock_does(tmp_path, monkeypatch):
    job = JobFolder(tmp_path)
    job.training.write_bytes(chats(20))
    knobs = {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1}
    order = {"job_id": "ftjob-1", "attempt": 1, "trainer": "bytes", "method": "supervised", "hyperparameters": knobs}
    job.write("job", order | {"seed": 1, "model_name": "m", "integrations": []})
    monkeypatch.setattr(worker, "PROGRESS_SECONDS", 0)
    told: list[str] = []
    write = JobFolder.write

    def noting(self, name, content):
        told.append(name)
        write(self, name, content)

    monkeypatch.setattr(JobFolder, "write", noting)
    # the clock goes backwards by a day each time that somebody looks
    days = count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - 86400 * next(days))
    outcome = worker.work(job)
    assert outcome["outcome"] == "succeeded"
    assert 0 <= outcome["seconds"] < 60
    assert told.count("progress") == 20
    assert 0 <= job.read("progress")["seconds_per_step"] < 60
