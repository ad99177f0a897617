"""The service: its parts, and how they start and stop together."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from tuneway_service import faults, sweeping
from tuneway_service.answers import Engines
from tuneway_service.catalogue import Catalogue
from tuneway_service.executors import Executor, make_executor
from tuneway_service.expiry import Expiry
from tuneway_service.ids import now
from tuneway_service.sqlite_errors import unusable
from tuneway_service.states import TERMINAL, Move
from tuneway_service.store import jobs, webhooks
from tuneway_service.store.database import Database
from tuneway_service.supervisor import Supervisor
from tuneway_service.webhooks import Sender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tuneway_service.settings import Settings
    from tuneway_service.store.records import JobRow

log = logging.getLogger(__name__)

TIDY_SECONDS = 60.0
GRADINGS = 8


class Service:
    """The state that requests use, and the background work."""

    def __init__(self, settings: Settings, executor: Executor | None = None) -> None:
        self.settings = settings
        self.faults = faults.parse(settings.faults)
        self.catalogue = Catalogue(settings)
        for name in ("files", "uploads", "jobs", "scratch", "records"):
            getattr(settings, f"{name}_dir").mkdir(parents=True, exist_ok=True)
        self.started_at = now()
        self.database = Database(settings.database)
        try:
            self.database.write_now(webhooks.configure, settings.webhook_url, settings.webhook_secret)
            sweeping.sweep(settings, self.database)
        except sqlite3.Error as error:
            raise unusable(settings.database, error) from None
        self.expiry = Expiry(self.database)
        # threads of their own: graders may be slow, and everything else needs threads too
        self.grading = anyio.CapacityLimiter(GRADINGS)
        self.estimating = anyio.CapacityLimiter(1)
        self.sender = Sender(self.database, link_local=settings.link_local_webhooks)
        self.supervisor = Supervisor(
            self.database, executor or make_executor(settings), self.catalogue, settings, on_end=self.sender.wake
        )
        self.engines = Engines(settings, self.supervisor.slots)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background work."""
        if self.catalogue.stand_ins:
            log.warning(
                "these names are no language models here: the trainer 'bytes' stands in for them, to try a pipeline",
                extra={"models": ",".join(self.catalogue.stand_ins), "instead": "--model NAME=FOLDER"},
            )
        self.supervisor.start()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.sender.run)
                group.start_soon(self._tidy)
                yield
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.supervisor.stop)
                await self.engines.close()
                await anyio.to_thread.run_sync(self.database.close)

    def created(self, table: str, row_id: str) -> None:
        """A job or a file that was begun (`sweeping.begin`) is in the database now. Blocks."""
        self.supervisor.recorder.write_now(table, row_id)
        sweeping.end(self.settings, row_id)

    async def steer(self, job_id: str, move: Move) -> JobRow:
        """Pause, resume or cancel a job, as a client asks."""
        row = await self.database.write(jobs.move, job_id, move)
        self.supervisor.wake()
        self.sender.wake()
        if row.status in TERMINAL and not row.occupied:
            # the job has no worker, so the supervisor won't tidy its folder
            await anyio.to_thread.run_sync(self.supervisor.folder(job_id).tidy)
        return row

    async def _tidy(self) -> None:
        while True:
            await anyio.sleep(TIDY_SECONDS)
            try:
                await self.engines.close_idle()
                await anyio.to_thread.run_sync(self.tidy)
            except Exception:
                log.exception("tidying failed")

    def tidy(self) -> None:
        """Remove what has expired."""
        for file_id in self.expiry.run():
            sweeping.remove_file(self.settings, file_id)
        sweeping.sweep_uploads(self.settings, self.database)
