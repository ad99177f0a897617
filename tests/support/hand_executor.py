"""A supervisor without its thread, and workers that do what a test says."""

from __future__ import annotations

from dataclasses import replace

from support.job_records import BODY
from support.openai_jobs import chats
from support.service import until

from tuneway_service.catalogue import Catalogue
from tuneway_service.executors.base import Notice
from tuneway_service.folder import JobFolder
from tuneway_service.journal import Journal
from tuneway_service.settings import Settings
from tuneway_service.states import JobStatus
from tuneway_service.store import events, jobs
from tuneway_service.store.database import Database
from tuneway_service.supervisor import Supervisor


class HandExecutor:
    """Workers that live and die as the test says."""

    pace = 0.05
    detached = False

    def __init__(self) -> None:
        self.tells: list[Notice] = []
        self.launched: list[str] = []
        self.living: set[str] = set()
        self.killed: list[str] = []
        self.words = "its worker was killed by SIGKILL"
        self.broken: Exception | None = None

    def launch(self, folder: JobFolder) -> None:
        if self.broken:
            raise self.broken
        assert folder.path.name not in self.living, "two workers for one job"
        self.launched.append(folder.path.name)
        self.living.add(folder.path.name)

    def alive(self, folder: JobFolder) -> bool:
        return folder.path.name in self.living

    def stop(self, folder: JobFolder, *, force: bool = False) -> None:
        folder.ask_to_stop()
        if force:
            self.killed.append(folder.path.name)
            self.living.discard(folder.path.name)

    def notices(self, folder: JobFolder) -> list[Notice]:
        told, self.tells = self.tells, []
        return told

    def exit_reason(self, folder: JobFolder) -> str:
        return self.words

    def close(self) -> None:
        pass


class Bench:
    """A supervisor without its thread, and hands to play the workers with."""

    def __init__(self, data_dir, **options) -> None:
        self.settings = Settings(data_dir=data_dir, **options)
        for folder in (self.settings.files_dir, self.settings.jobs_dir):
            folder.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(parents=True, exist_ok=True)
        self.database = Database(data_dir / "test.db")
        self.executor = HandExecutor()
        self.supervisor = self.fresh_supervisor()

    def fresh_supervisor(self) -> Supervisor:
        """What a restart of the service brings."""
        catalogue = Catalogue(self.settings)
        self.supervisor = Supervisor(self.database, self.executor, catalogue, self.settings)
        return self.supervisor

    def create(self, rows: bytes = b"", **body) -> str:
        job_id = jobs.fresh_id()
        folder = self.folder(job_id)
        folder.path.mkdir()
        folder.training.write_bytes(rows or chats(20))
        self.database.write_now(jobs.create, id=job_id, trainer="bytes", body=replace(BODY, **body))
        return job_id

    def running(self, **body) -> str:
        """A job whose worker has just been launched."""
        job_id = self.create(**body)
        self.tick_until(job_id, JobStatus.RUNNING)
        return job_id

    def tick_until(self, job_id: str, status: JobStatus) -> None:
        until(lambda: (self.supervisor.tick(), self.status(job_id) == status)[1], seconds=10)

    def folder(self, job_id: str) -> JobFolder:
        return JobFolder(self.settings.jobs_dir / job_id)

    def row(self, job_id: str):
        return self.database.read_now(jobs.find, job_id)

    def status(self, job_id: str):
        return self.row(job_id).status

    def story(self, job_id: str) -> list[str]:
        rows = self.database.read_now(events.rows, self.row(job_id).seq, after=None, limit=1000)
        return [row["message"] for row in reversed(rows)]

    def train(self, job_id: str, *steps: int) -> None:
        pen = Journal(self.folder(job_id).journal)
        for step in steps:
            pen.metrics(step, 100, {"train_loss": 1 / step})
        pen.close()

    def end(self, job_id: str, outcome: str | None, **more) -> None:
        """The worker's process ends; without an outcome when it was killed."""
        folder = self.folder(job_id)
        (folder.path / "outcome.json").unlink(missing_ok=True)
        if outcome is not None:
            folder.write("outcome", {"outcome": outcome} | more)
        self.executor.living.discard(job_id)

    def succeed(self, job_id: str) -> None:
        self.folder(job_id).results.write_bytes(b"c3RlcA==")
        self.folder(job_id).model.mkdir(exist_ok=True)
        self.end(job_id, "succeeded", trained_tokens=123, seconds=1.5, cpu_seconds=1.0)

    def close(self) -> None:
        self.supervisor._checker.shutdown()
        self.database.close()
