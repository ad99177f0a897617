"""The supervisor, tick by tick, with workers that do what the test writes into their folders."""

from __future__ import annotations

import errno
import sqlite3
import time

import pytest
from support.hand_executor import Bench
from support.openai_jobs import chats
from support.service import until

from tuneway_service import storage
from tuneway_service import supervisor as supervising
from tuneway_service.executors.base import Notice
from tuneway_service.folder import JobFolder
from tuneway_service.journal import Journal
from tuneway_service.states import JobStatus, Move
from tuneway_service.store import files, jobs, models


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_job_is_checked_queued_launched_and_settled(bench):
    job_id = bench.running(suffix="my team!")
    assert bench.executor.launched == [job_id]
    assert bench.folder(job_id).read("job")["hyperparameters"]["n_epochs"] > 0
    bench.train(job_id, 1, 2, 3)
    bench.supervisor.tick()
    assert bench.row(job_id).step == 3
    bench.succeed(job_id)
    bench.supervisor.tick()
    row = bench.row(job_id)
    assert (row.status, row.trained_tokens, row.occupied) == ("succeeded", 123, 0)
    assert row.fine_tuned_model.startswith("ft:bytes:local:my-team-:")
    assert bench.database.read_now(models.find, row.fine_tuned_model)["folder"] == "model"
    result = bench.database.read_now(files.get, row.result_file)
    assert (bench.settings.files_dir / result["id"]).read_bytes() == b"c3RlcA=="


def test_jobs_wait_their_turn_in_order(bench):
    ids = [bench.create() for _ in range(3)]
    for turn in range(3):
        bench.tick_until(ids[turn], JobStatus.RUNNING)
        bench.supervisor.tick()
        assert bench.executor.launched == ids[: turn + 1]
        bench.succeed(ids[turn])


def test_a_restarted_service_finds_its_worker_again(bench):
    job_id = bench.running()
    bench.train(job_id, 1)
    bench.fresh_supervisor().tick()
    assert bench.executor.launched == [job_id]
    bench.train(job_id, 2)
    bench.succeed(job_id)
    bench.fresh_supervisor().tick()
    assert bench.status(job_id) == "succeeded"
    assert [text.split(":")[0] for text in bench.story(job_id) if text.startswith("Step")] == [
        "Step 1/100",
        "Step 2/100",
    ]


def test_a_lost_worker_is_replaced_and_nothing_is_told_twice(bench):
    job_id = bench.running()
    bench.train(job_id, 1, 2, 3)
    bench.end(job_id, None)
    bench.supervisor.tick()
    bench.supervisor.tick()
    assert bench.status(job_id) == "running"
    assert bench.executor.launched == [job_id, job_id]
    bench.train(job_id, 2, 3, 4)  # it went on from an earlier state
    bench.succeed(job_id)
    bench.supervisor.tick()
    steps = [text.split("/")[0] for text in bench.story(job_id) if text.startswith("Step")]
    assert steps == ["Step 1", "Step 2", "Step 3", "Step 4"]
    assert sum("interrupted (its worker was killed by SIGKILL)" in text for text in bench.story(job_id)) == 1


def test_a_worker_that_is_lost_again_and_again_without_progress_fails_the_job(bench):
    job_id = bench.running()
    bench.executor.words = "its worker exited with status 139"
    for _ in range(supervising.LOSSES_ALLOWED):
        bench.end(job_id, None)
        bench.supervisor.tick()
        bench.supervisor.tick()
    row = bench.row(job_id)
    assert row.status == "failed"
    assert row.error["code"] == "server_error"
    assert "status 139" in row.error["message"]
    assert len(bench.executor.launched) == supervising.LOSSES_ALLOWED


def test_a_worker_that_gets_further_each_time_is_always_replaced(bench):
    job_id = bench.running()
    for attempt in range(1, 4 * supervising.LOSSES_ALLOWED):
        bench.train(job_id, attempt)
        bench.end(job_id, None)
        bench.supervisor.tick()
        bench.supervisor.tick()
        assert bench.status(job_id) == "running"


def test_pausing_waits_for_the_worker_and_resuming_starts_another(bench):
    job_id = bench.running()
    bench.database.write_now(jobs.move, job_id, Move.PAUSE)
    bench.supervisor.tick()
    assert bench.folder(job_id).stop_asked()
    assert bench.status(job_id) == "pausing"
    bench.end(job_id, "stopped", step=3)
    bench.supervisor.tick()
    assert bench.status(job_id) == "paused"
    bench.supervisor.tick()
    assert bench.executor.launched == [job_id]
    bench.database.write_now(jobs.move, job_id, Move.RESUME)
    bench.supervisor.tick()
    assert bench.status(job_id) == "running"
    assert bench.executor.launched == [job_id, job_id]
    assert not bench.folder(job_id).stop_asked()


def test_a_training_that_ends_while_it_is_asked_to_pause_has_succeeded(bench):
    job_id = bench.running()
    bench.database.write_now(jobs.move, job_id, Move.PAUSE)
    bench.succeed(job_id)
    bench.supervisor.tick()
    assert bench.status(job_id) == "succeeded"


def test_a_worker_killed_while_pausing_leaves_a_paused_job(bench):
    job_id = bench.running()
    bench.database.write_now(jobs.move, job_id, Move.PAUSE)
    bench.end(job_id, None)
    bench.supervisor.tick()
    assert bench.status(job_id) == "paused"


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "stopped", None])
def test_whatever_the_worker_of_a_cancelled_job_does_it_stays_cancelled(bench, outcome):
    job_id = bench.running()
    bench.database.write_now(jobs.move, job_id, Move.CANCEL)
    bench.supervisor.tick()
    assert bench.folder(job_id).stop_asked()
    bench.end(job_id, outcome, code="x", message="y", trained_tokens=1)
    bench.supervisor.tick()
    row = bench.row(job_id)
    assert (row.status, row.occupied, row.fine_tuned_model) == ("cancelled", 0, None)


def test_a_cancelled_worker_that_does_not_leave_is_killed(bench, monkeypatch):
    job_id, clock = bench.running(), [100.0]
    monkeypatch.setattr("tuneway_service.supervisor.time.monotonic", lambda: clock[0])
    bench.database.write_now(jobs.move, job_id, Move.CANCEL)
    bench.supervisor.tick()
    clock[0] += supervising.STOP_PATIENCE - 1
    bench.supervisor.tick()
    assert bench.executor.killed == []
    clock[0] += 2
    bench.supervisor.tick()
    assert bench.executor.killed == [job_id]


def test_a_cancelled_job_gives_up_its_place_only_when_its_worker_is_gone(bench):
    first, second = bench.running(), bench.create()
    bench.database.write_now(jobs.move, first, Move.CANCEL)
    bench.tick_until(second, JobStatus.QUEUED)
    bench.supervisor.tick()
    assert bench.executor.launched == [first]
    bench.end(first, "stopped")
    bench.tick_until(second, JobStatus.RUNNING)


def test_a_service_killed_between_saying_and_launching_launches_later(bench):
    job_id = bench.create()
    bench.tick_until(job_id, JobStatus.RUNNING)
    bench.executor.living.clear()  # the launch never happened
    bench.executor.launched.clear()
    bench.fresh_supervisor()
    bench.tick_until(job_id, JobStatus.RUNNING)
    bench.supervisor.tick()
    assert bench.executor.launched == [job_id]


def test_a_service_killed_while_checking_checks_again(bench):
    job_id = bench.create()
    bench.fresh_supervisor()
    bench.tick_until(job_id, JobStatus.RUNNING)


def test_what_breaks_one_job_harms_no_other(bench):
    bad, good = bench.running(), bench.create()
    folder = bench.folder(bad)
    folder.journal.mkdir()  # where a file should be
    bench.tick_until(bad, JobStatus.FAILED)
    assert "can't go on with this job" in bench.row(bad).error["message"]
    bench.tick_until(good, JobStatus.RUNNING)


def test_a_job_whose_folder_is_gone_fails_alone(bench):
    lost, good = bench.create(), bench.create()
    bench.folder(lost).training.unlink()
    bench.folder(lost).path.rmdir()
    bench.tick_until(lost, JobStatus.FAILED)
    bench.tick_until(good, JobStatus.RUNNING)


def test_a_launch_that_fails_fails_the_job(bench):
    bench.executor.broken = OSError(12, "Cannot allocate memory")
    job_id = bench.create()
    bench.tick_until(job_id, JobStatus.FAILED)
    assert "Cannot allocate memory" in bench.row(job_id).error["message"]
    assert bench.row(job_id).occupied == 0


def test_the_estimate_is_from_measured_steps(bench):
    job_id = bench.running()
    bench.folder(job_id).write(
        "progress", {"at": 1000.0, "step": 10, "total_steps": 50, "seconds_per_step": 2.5, "trained_tokens": 1}
    )
    bench.supervisor.tick()
    assert bench.row(job_id).estimated_finish == 1100
    bench.end(job_id, "stopped")
    bench.executor.broken = None
    bench.database.write_now(jobs.move, job_id, Move.CANCEL)
    bench.supervisor.tick()
    assert bench.row(job_id).estimated_finish is None


def test_checkpoints_become_models_and_only_the_last_three_stay(bench):
    job_id = bench.running()
    pen = Journal(bench.folder(job_id).journal)
    for epoch, step in enumerate((10, 20, 30, 40, 40), start=1):
        pen.checkpoint(step, epoch, {"train_loss": 0.5})
    pen.close()
    bench.supervisor.tick()
    name = f"ft:bytes:local::{job_id.removeprefix('ftjob-')[:8]}:ckpt-step-"
    assert [row["id"] for row in bench.database.read_now(models.newest, 100)] == [
        f"{name}{step}" for step in (20, 30, 40)
    ]
    assert sum("Checkpoint created at step 40" in text for text in bench.story(job_id)) == 1


def test_stopping_sends_the_workers_home_and_their_jobs_back_to_the_queue(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    job_id = bench.running()
    asked = bench.executor.stop

    def obey(folder: JobFolder, *, force: bool = False) -> None:
        asked(folder, force=force)
        bench.end(folder.path.name, "stopped")

    monkeypatch.setattr(bench.executor, "stop", obey)
    bench.supervisor.start()
    bench.supervisor.stop()
    row = bench.row(job_id)
    assert (row.status, row.occupied) == ("queued", 0)
    bench.close()


def test_stopping_leaves_workers_at_work_that_do_not_need_the_service(tmp_path):
    bench = Bench(tmp_path)
    bench.executor.detached = True
    job_id = bench.running()
    bench.supervisor.start()
    bench.supervisor.stop()
    assert (bench.status(job_id), bench.folder(job_id).stop_asked()) == ("running", False)
    bench.fresh_supervisor().tick()
    assert bench.executor.launched == [job_id]
    bench.succeed(job_id)
    bench.supervisor.tick()
    assert bench.status(job_id) == "succeeded"
    bench.close()


def test_what_an_executor_has_to_tell_is_told_in_the_job_s_events(bench):
    job_id = bench.running()
    bench.executor.tells = [
        Notice("Waiting", mark="wait"),
        Notice("Waiting", mark="wait"),
        Notice("Away", level="warn"),
    ]
    bench.supervisor.tick()
    assert bench.story(job_id)[-2:] == ["Waiting", "Away"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
def test_while_the_storage_is_away_a_job_is_left_as_it_is(bench, monkeypatch, number):
    job_id = bench.running()

    def away(*_, **__):
        raise OSError(number, "away")

    with monkeypatch.context() as patch:
        patch.setattr(bench.executor, "alive", away)
        bench.supervisor.tick()
        assert bench.supervisor._troubled
    assert bench.status(job_id) == "running"
    bench.succeed(job_id)
    bench.supervisor.tick()
    assert bench.status(job_id) == "succeeded"


def test_storage_that_is_unmounted_under_the_service_harms_no_job(tmp_path):
    bench = Bench(tmp_path / "data", job_storage=tmp_path / "share")
    storage.settle(bench.settings)
    job_id = bench.running()
    (tmp_path / "share").rename(tmp_path / "elsewhere")
    (tmp_path / "share").mkdir()
    bench.executor.living.clear()
    bench.supervisor.tick()
    assert bench.status(job_id) == "running"
    (tmp_path / "share").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "share")
    bench.succeed(job_id)
    bench.supervisor.tick()
    assert bench.status(job_id) == "succeeded"
    bench.close()


def test_stuck_jobs_are_stuck_at_every_restart_and_can_be_cancelled(tmp_path):
    bench = Bench(tmp_path, faults="stuck=0.5", fault_seed=4, concurrency=100)
    ids = [bench.create() for _ in range(20)]
    stuck: list[str] = []
    for _ in range(3):
        until(lambda: bench.supervisor.tick() and not bench.supervisor._checks)
        stuck = [job_id for job_id in ids if bench.status(job_id) == "validating_files"]
        assert 3 < len(stuck) < 17
        bench.supervisor._checker.shutdown()
        bench.fresh_supervisor()
    bench.database.write_now(jobs.move, stuck[0], Move.CANCEL)
    assert bench.status(stuck[0]) == "cancelled"
    bench.close()


def test_while_the_database_is_in_trouble_jobs_are_left_alone_and_go_on_after(bench, monkeypatch):
    job_id = bench.running()
    bench.train(job_id, 1, 2)

    def broken(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.database, "write_now", broken)
        bench.supervisor.tick()
        assert bench.supervisor._troubled
    assert bench.executor.killed == []
    assert bench.status(job_id) == "running"
    bench.succeed(job_id)
    bench.supervisor.tick()
    assert bench.status(job_id) == "succeeded"


def test_stopping_does_not_wait_for_a_long_look_at_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tuneway_service.checks.SMALL", 0)
    bench = Bench(tmp_path)
    job_id = bench.create(chats(200_000))
    bench.supervisor.start()
    until(lambda: bench.supervisor._checks)
    began = time.monotonic()
    bench.supervisor.stop()
    assert time.monotonic() - began < 10
    assert bench.status(job_id) in ("validating_files", "queued", "running")
    bench.close()


def test_a_job_waits_while_the_disk_is_full_and_goes_on_when_there_is_room(bench, monkeypatch):
    monkeypatch.setattr(supervising, "ROOM_SECONDS", 1000)
    job_id = bench.running()
    bench.train(job_id, 1)
    bench.end(job_id, "failed", code="disk_full", message="The service's disk is full")
    bench.supervisor.tick()
    bench.supervisor.tick()
    assert bench.status(job_id) == "queued", "nothing is launched for a while"
    assert any("the disk is full: free some space" in text for text in bench.story(job_id))
    assert bench.folder(job_id).read("outcome") is None
    bench.supervisor._launch_at = 0
    bench.supervisor.tick()
    assert bench.status(job_id) == "running"
    assert bench.row(job_id).attempt == 2


def test_a_disk_that_stays_full_fails_the_job_in_the_end(bench, monkeypatch):
    monkeypatch.setattr(supervising, "ROOM_SECONDS", 0)
    job_id = bench.running()
    for _ in range(supervising.LOSSES_ALLOWED - 1):
        bench.end(job_id, "failed", code="disk_full", message="The service's disk is full", param=None)
        bench.supervisor.tick()
        bench.tick_until(job_id, JobStatus.RUNNING)
    bench.end(job_id, "failed", code="disk_full", message="The service's disk is full", param=None)
    bench.supervisor.tick()
    assert bench.status(job_id) == "failed"
    assert bench.row(job_id).error["code"] == "disk_full"


@pytest.mark.parametrize("place", ["the order", "the result"])
def test_a_disk_that_is_full_for_the_service_itself_harms_no_job(bench, monkeypatch, place):
    """The worker has trained to the end, or hasn't begun: neither is the job's fault."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if place == "the order":
        job_id = bench.create()
        with monkeypatch.context() as patch:
            patch.setattr(JobFolder, "write", full)
            bench.tick_until(job_id, JobStatus.QUEUED)
            bench.supervisor.tick()
            assert bench.status(job_id) == "queued"
        bench.tick_until(job_id, JobStatus.RUNNING)
        assert bench.row(job_id).losses == 0
    else:
        job_id = bench.running()
        bench.succeed(job_id)
        with monkeypatch.context() as patch:
            patch.setattr("tuneway_service.ingest.link", full)
            bench.supervisor.tick()
        assert bench.status(job_id) == "running"
        bench.supervisor.tick()
        assert bench.status(job_id) == "succeeded"
