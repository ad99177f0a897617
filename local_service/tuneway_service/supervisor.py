"""Runs the jobs: checks their files, queues them, launches workers, records what they report, and ends the jobs.

One thread does this, tick by tick; a second one checks files. All state is in the database and in the job folders,
so a new supervisor goes on exactly where a killed one stopped.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from tuneway_service import checks, ingest, storage
from tuneway_service.devices import said
from tuneway_service.faults import parse, sticks
from tuneway_service.folder import JobFolder
from tuneway_service.record_files import Recorder
from tuneway_service.slots import Slots
from tuneway_service.states import TERMINAL, JobStatus, Move, WrongState
from tuneway_service.store import events, jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuneway_service.catalogue import Catalogue
    from tuneway_service.executors import Executor
    from tuneway_service.executors.base import Notice
    from tuneway_service.settings import Settings
    from tuneway_service.store.database import Connection, Database
    from tuneway_service.store.records import JobRow

log = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
STOP_PATIENCE = 10.0
LOSSES_ALLOWED = 5
ROOM_SECONDS = 60.0
STORAGE_AWAY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Supervisor:
    """Owns every job from its creation to its end; calls `on_end`, in its thread, after a job ends."""

    def __init__(
        self,
        database: Database,
        executor: Executor,
        catalogue: Catalogue,
        settings: Settings,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = database
        self.on_end = on_end
        self.executor = executor
        self.catalogue = catalogue
        self.settings = settings
        self.recorder = Recorder(database, settings)
        self.slots = Slots(settings.gpus)
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._troubled = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="checker")
        self._checks: dict[str, Future[None]] = {}
        self._faults = parse(settings.faults)
        self._asked_at: dict[str, float] = {}
        self._launch_at = 0.0

    def start(self) -> None:
        """Start; the jobs of an earlier service go on."""
        self._thread.start()

    def wake(self) -> None:
        """Start the next tick now. Never blocks."""
        self._woken.set()

    def stop(self) -> None:
        """Stop the workers after they have saved their state; their jobs go on at the next start.

        Workers of a detached executor go on, and the next service finds them.
        """
        self._closing.set()
        self._woken.set()
        self._thread.join()
        self._checker.shutdown(wait=True, cancel_futures=True)

    def folder(self, job_id: str) -> JobFolder:
        """The folder of a job that the database knows."""
        return JobFolder(self.settings.jobs_dir / job_id)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._woken.clear()
            self._troubled = False
            busy = self._tried(self.tick) or self._checks
            # while the disk or the database fails, twenty attempts a second would only fill the log
            self._woken.wait(self.executor.pace if busy and not self._troubled else IDLE_SECONDS)
        if not self.executor.detached:
            self._tried(self._stop_workers)
        self.executor.close()

    def _tried(self, act: Callable[[], bool]) -> bool:
        try:
            return act()
        except Exception:
            log.exception("the supervisor failed, and will try again")
            self._troubled = True
            return False

    def tick(self) -> bool:
        """Do what is due now; returns whether the next tick should be soon."""
        if not storage.there(self.settings):
            log.error("the job storage isn't mounted", extra={"path": self.settings.job_storage})
            self._troubled = True
            return True
        for job_id, place in self.database.read_now(jobs.places_in, JobStatus.VALIDATING):
            if job_id not in self._checks and not sticks(self._faults, self.settings.fault_seed, place):
                self._checks[job_id] = self._checker.submit(self._for, job_id, self._check)
        self._checks = {job_id: check for job_id, check in self._checks.items() if not check.done()}
        for row in self.database.read_now(jobs.occupied):
            if not self.slots.knows(row.id):  # its worker is from an earlier service
                self.slots.hold(row.id, (self.folder(row.id).read("job") or {}).get("devices") or ())
            self._for(row.id, self._attend)
        occupied = self._free_slots()
        occupied = self._launch_waiting(occupied)
        more = self.recorder.write_due()
        return bool(occupied or self._checks or more)

    def _launch_waiting(self, occupied: int) -> int:
        """Launch the jobs that are next and have room; returns how many jobs have workers now."""
        while occupied < self.settings.concurrency and not self._closing.is_set():
            if time.monotonic() < self._launch_at:
                break
            waiting = self.database.read_now(jobs.next_queued)
            if waiting is None:
                break
            needed = self.catalogue.gpus_for(waiting)
            devices = self.slots.find(needed)
            if needed > len(self.slots.devices or ()):  # the service was started again with fewer
                self._for(waiting.id, self._refuse_gpus)
            elif devices is None:
                break  # those behind it wait too: else small jobs would keep a large one waiting for ever
            else:
                self._for(waiting.id, partial(self._launch, devices=devices))
            occupied += 1
        return occupied

    def _free_slots(self) -> int:
        """Free the devices of jobs whose workers have ended; returns how many jobs have workers."""
        there = {row.id for row in self.database.read_now(jobs.occupied)}
        for job_id in self.slots.held.keys() - there:
            self.slots.release(job_id)
        return len(there)

    def _refuse_gpus(self, row: JobRow) -> None:
        needed, there = self.catalogue.gpus_for(row), len(self.slots.devices or ())
        text = f"The job needs {needed} GPUs, and the service was started with {there}."
        self._fail(row.id, code="invalid_value", message=text, param="gpus")

    def _for(self, job_id: str, act: Callable[[JobRow], None]) -> None:
        """Do something for one job; an error fails that job alone."""
        try:
            act(self.database.read_now(jobs.find, job_id))
        except WrongState:
            pass  # its status changed meanwhile: the next tick goes by the new one
        except sqlite3.Error:
            # the database's failure, not the job's: the job is left as it is until the database works again
            log.exception("the database failed")
            self._troubled = True
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (*STORAGE_AWAY, *DISK_FULL):
                # likewise for a network disk, which comes back, and for a full disk, on which somebody frees space
                log.exception("the storage of a job can't be used", extra={"job_id": job_id})
                self._troubled = True
                return
            log.exception("a job failed by an error of the service", extra={"job_id": job_id})
            why = f"The service can't go on with this job: {type(error).__name__}: {error}"
            self._tried(partial(self._give_up, job_id, why))

    def _give_up(self, job_id: str, why: str) -> bool:
        with suppress(OSError):
            self.executor.stop(self.folder(job_id), force=True)
        self._fail(job_id, code="server_error", message=why)
        return True

    def _fail(self, job_id: str, *, code: str, message: str, param: str | None = None) -> None:
        self.database.write_now(jobs.fail, job_id, code=code, message=message, param=param, occupied=0)
        self.on_end()

    # what is done for one job

    def _check(self, row: JobRow) -> None:
        if row.status != JobStatus.VALIDATING:
            return  # cancelled while it waited for its turn
        try:
            verdict = checks.check_job(self.folder(row.id), row, stopped=self._closing.is_set)
            if verdict.problem is None:
                hyperparameters = self.catalogue.resolve(row, verdict.n_examples)
                self.database.write_now(_admit, row.id, hyperparameters)
            else:
                self._fail(row.id, **verdict.problem)
        except checks.CheckStopped:
            pass  # the next service checks it again
        finally:
            self.wake()

    def _launch(self, row: JobRow, devices: Sequence[str]) -> None:
        folder = self.folder(row.id)
        folder.clear_stop()
        given = None if self.slots.devices is None else devices
        # before the job counts as started: if the disk is full, it just goes on waiting
        folder.write("job", self.catalogue.order(dataclasses.replace(row, attempt=row.attempt + 1), given))
        self.slots.hold(row.id, devices)
        row = self.database.write_now(_start, row.id, devices)
        self.executor.launch(folder)
        log.info("launched", extra={"job_id": row.id, "attempt": row.attempt, "devices": ",".join(devices)})

    def _attend(self, row: JobRow) -> None:
        folder = self.folder(row.id)
        # this order matters: when the worker has ended, everything that it wrote is there to be read
        alive = self.executor.alive(folder)
        ingest.read_reports(self.database, row.id, folder)
        if notices := self.executor.notices(folder):
            self.database.write_now(_add_notices, row.seq, notices)
        if not alive:
            self._asked_at.pop(row.id, None)
            self._settle(row, folder)
        elif row.status != JobStatus.RUNNING:
            self._stop_worker(row, folder)

    def _stop_worker(self, row: JobRow, folder: JobFolder) -> None:
        """Stop the worker of a job that is pausing or cancelled; kill that of a cancelled job if it doesn't stop."""
        asked_at = self._asked_at.setdefault(row.id, time.monotonic())
        overdue = time.monotonic() - asked_at > STOP_PATIENCE
        self.executor.stop(folder, force=overdue and row.status != JobStatus.PAUSING)

    def _settle(self, row: JobRow, folder: JobFolder) -> None:
        """The worker has ended: change the job's status by the outcome that it left."""
        outcome = folder.read("outcome")
        kind = outcome.get("outcome") if isinstance(outcome, dict) else None
        if row.status not in (JobStatus.RUNNING, JobStatus.PAUSING):
            self.database.write_now(jobs.update, row.id, occupied=0)
        elif kind == "succeeded":
            ingest.succeed(self.database, self.settings, row.id, folder, outcome)
            self.on_end()
        elif kind == "failed" and outcome["code"] == "disk_full" and self._losses(row) < LOSSES_ALLOWED:
            self._wait_for_room(row, folder)
        elif kind == "failed":
            self._fail(row.id, code=outcome["code"], message=outcome["message"], param=outcome.get("param"))
        else:
            self._lost(row, folder, stopped=kind == "stopped")
        if self.database.read_now(jobs.find, row.id).status in TERMINAL:
            folder.tidy()
        log.info("settled", extra={"job_id": row.id, "outcome": kind or "lost"})

    def _losses(self, row: JobRow) -> int:
        """How many workers were lost in a row without progress, this one included."""
        row = self.database.read_now(jobs.find, row.id)
        return 1 if row.step > row.step_at_start else row.losses + 1

    def _wait_for_room(self, row: JobRow, folder: JobFolder) -> None:
        """The disk is full: nothing is launched for a while, and then the job goes on."""
        folder.forget_outcome()
        self._launch_at = time.monotonic() + ROOM_SECONDS
        self.database.write_now(_yield, row.id, losses=self._losses(row), why="the disk is full: free some space")

    def _lost(self, row: JobRow, folder: JobFolder, *, stopped: bool) -> None:
        losses = 0 if stopped else self._losses(row)
        reason = self.executor.exit_reason(folder)
        if losses >= LOSSES_ALLOWED:
            text = f"The training was lost {losses} times at step {row.step}: {reason}"
            self._fail(row.id, code="server_error", message=text)
        else:
            self.database.write_now(_yield, row.id, losses=losses, why=None if stopped else reason)

    def _stop_workers(self) -> bool:
        until = time.monotonic() + STOP_PATIENCE
        rows = self.database.read_now(jobs.occupied)
        for row in rows:
            self.executor.stop(self.folder(row.id))
        while rows and time.monotonic() < until:
            for row in rows:
                self._for(row.id, self._attend)
            rows = self.database.read_now(jobs.occupied)
            time.sleep(0.02)
        return True


def _admit(connection: Connection, job_id: str, hyperparameters: dict[str, Any]) -> None:
    jobs.move(connection, job_id, Move.ADMIT, hyperparameters=hyperparameters)


def _start(connection: Connection, job_id: str, devices: Sequence[str]) -> JobRow:
    row = jobs.find(connection, job_id)
    row = jobs.move(connection, job_id, Move.START, occupied=1, attempt=row.attempt + 1, step_at_start=row.step)
    if devices:
        events.add(connection, row.seq, f"The job trains on {said(devices)}")
    return row


def _add_notices(connection: Connection, job: int, notices: Sequence[Notice]) -> None:
    for notice in notices:
        events.add(connection, job, notice.message, level=notice.level, mark=notice.mark)


def _yield(connection: Connection, job_id: str, *, losses: int, why: str | None) -> None:
    if why is not None:
        text, level = f"The training was interrupted ({why}); it goes on from its last saved state", "warn"
    else:
        text, level = "The training was stopped; its state is saved", "info"
    jobs.move(
        connection, job_id, Move.YIELD, message=text, level=level, occupied=0, losses=losses, estimated_finish=None
    )
