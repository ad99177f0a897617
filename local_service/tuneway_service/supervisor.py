"""Takes jobs from their files to their end: checks, queues, launches, listens, settles.

One thread does all of it, a tick at a time; only looking at files is left to another. The truth is in the
database and the job folders, never here: a supervisor that starts afresh picks up exactly where a killed one
left off.
"""

from __future__ import annotations

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
from tuneway_service.faults import parse, sticks
from tuneway_service.folder import JobFolder
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
STORAGE_AWAY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH)


class Supervisor:
    """Owns every job between its creation and its end; `on_end` is called, in its thread, when one has ended."""

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
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._troubled = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="checker")
        self._checks: dict[str, Future[None]] = {}
        self._faults = parse(settings.faults)
        self._asked_at: dict[str, float] = {}

    def start(self) -> None:
        """Begin; jobs of an earlier service are taken up first."""
        self._thread.start()

    def wake(self) -> None:
        """Something changed: look now. Never blocks."""
        self._woken.set()

    def stop(self) -> None:
        """Ask the workers to save and leave, and wait for them; their jobs go on at the next start.

        Those that don't need the service stay at work, and are found again.
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
            # when the disk or the database is in trouble, twenty tries a second would only fill the log
            self._woken.wait(self.executor.pace if busy and not self._troubled else IDLE_SECONDS)
        if not self.executor.detached:
            self._tried(self._send_workers_home)
        self.executor.close()

    def _tried(self, act: Callable[[], bool]) -> bool:
        try:
            return act()
        except Exception:
            log.exception("the supervisor is in trouble, and will try again")
            self._troubled = True
            return False

    def tick(self) -> bool:
        """Do what is to be done now; returns whether to look again soon."""
        if not storage.there(self.settings):
            log.error("the job storage is away", extra={"path": self.settings.job_storage})
            self._troubled = True
            return True
        for job_id, place in self.database.read_now(jobs.places_in, JobStatus.VALIDATING):
            if job_id not in self._checks and not sticks(self._faults, self.settings.fault_seed, place):
                self._checks[job_id] = self._checker.submit(self._for, job_id, self._check)
        self._checks = {job_id: check for job_id, check in self._checks.items() if not check.done()}
        for row in self.database.read_now(jobs.occupied):
            self._for(row.id, self._attend)
        occupied = len(self.database.read_now(jobs.occupied))
        while occupied < self.settings.concurrency and not self._closing.is_set():
            waiting = self.database.read_now(jobs.next_queued)
            if waiting is None:
                break
            self._for(waiting.id, self._launch)
            occupied += 1
        return bool(occupied or self._checks)

    def _for(self, job_id: str, act: Callable[[JobRow], None]) -> None:
        """Do something for one job; what goes wrong with it is that job's failure and no other's."""
        try:
            act(self.database.read_now(jobs.find, job_id))
        except WrongState:
            pass  # somebody else moved it in between: the next tick sees where it stands
        except sqlite3.Error:
            # the database's failure, not the job's: leave it as it is until the database is well again
            log.exception("the database is in trouble")
            self._troubled = True
        except Exception as error:
            if isinstance(error, OSError) and error.errno in STORAGE_AWAY:
                # likewise for a disk that another machine serves: it comes back
                log.exception("the storage of a job is away", extra={"job_id": job_id})
                self._troubled = True
                return
            log.exception("a job can't go on", extra={"job_id": job_id})
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
            verdict = checks.check_job(self.folder(row.id), row, given_up=self._closing.is_set)
            if verdict.problem is None:
                hyperparameters = self.catalogue.resolve(row, verdict.n_examples)
                self.database.write_now(_admit, row.id, hyperparameters)
            else:
                self._fail(row.id, **verdict.problem)
        except checks.GivenUp:
            pass  # the next service looks again
        finally:
            self.wake()

    def _launch(self, row: JobRow) -> None:
        folder = self.folder(row.id)
        row = self.database.write_now(_start, row.id)
        folder.clear_stop()
        folder.write("job", self.catalogue.order(row))
        self.executor.launch(folder)
        log.info("launched", extra={"job_id": row.id, "attempt": row.attempt})

    def _attend(self, row: JobRow) -> None:
        folder = self.folder(row.id)
        # first whether it lives, then what it wrote: what a dead worker wrote is all there
        alive = self.executor.alive(folder)
        ingest.listen(self.database, row.id, folder)
        if news := self.executor.news(folder):
            self.database.write_now(_pass_on, row.seq, news)
        if not alive:
            self._asked_at.pop(row.id, None)
            self._settle(row, folder)
        elif row.status != JobStatus.RUNNING:
            self._usher_out(row, folder)

    def _usher_out(self, row: JobRow, folder: JobFolder) -> None:
        """A worker whose job is wanted otherwise: ask, and for a cancelled one don't wait for long."""
        asked_at = self._asked_at.setdefault(row.id, time.monotonic())
        overdue = time.monotonic() - asked_at > STOP_PATIENCE
        self.executor.stop(folder, force=overdue and row.status != JobStatus.PAUSING)

    def _settle(self, row: JobRow, folder: JobFolder) -> None:
        """The worker is gone: what has become of the job?"""
        outcome = folder.read("outcome")
        kind = outcome.get("outcome") if isinstance(outcome, dict) else None
        if row.status not in (JobStatus.RUNNING, JobStatus.PAUSING):
            self.database.write_now(jobs.update, row.id, occupied=0)
        elif kind == "succeeded":
            ingest.succeed(self.database, self.settings, row.id, folder, outcome)
            self.on_end()
        elif kind == "failed":
            self._fail(row.id, code=outcome["code"], message=outcome["message"], param=outcome.get("param"))
        else:
            self._lost(row, folder, stopped=kind == "stopped")
        if self.database.read_now(jobs.find, row.id).status in TERMINAL:
            folder.tidy()
        log.info("settled", extra={"job_id": row.id, "outcome": kind or "lost"})

    def _lost(self, row: JobRow, folder: JobFolder, *, stopped: bool) -> None:
        row = self.database.read_now(jobs.find, row.id)
        losses = 0 if stopped else 1 if row.step > row.step_at_start else row.losses + 1
        words = self.executor.last_words(folder)
        if losses >= LOSSES_ALLOWED:
            text = f"The training was lost {losses} times at step {row.step}: {words}"
            self._fail(row.id, code="server_error", message=text)
        else:
            self.database.write_now(_yield, row.id, losses=losses, why=None if stopped else words)

    def _send_workers_home(self) -> bool:
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


def _start(connection: Connection, job_id: str) -> JobRow:
    row = jobs.find(connection, job_id)
    return jobs.move(connection, job_id, Move.START, occupied=1, attempt=row.attempt + 1, step_at_start=row.step)


def _pass_on(connection: Connection, job: int, news: Sequence[Notice]) -> None:
    for item in news:
        events.tell(connection, job, item.message, level=item.level, mark=item.mark)


def _yield(connection: Connection, job_id: str, *, losses: int, why: str | None) -> None:
    if why is not None:
        text, level = f"The training was interrupted ({why}); it goes on from its last saved state", "warn"
    else:
        text, level = "The training is stopped; its state is saved", "info"
    jobs.move(
        connection, job_id, Move.YIELD, message=text, level=level, occupied=0, losses=losses, estimated_finish=None
    )
