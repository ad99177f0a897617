"""The stage on which flows are tested: a service in memory, virtual time, and an account."""

# mypy: warn-return-any=False

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fake_service import FakeService
from support.virtual_driver import VirtualDriver

from tuneway import JobSpec, flows
from tuneway.calls import Source
from tuneway.choices import Reuse
from tuneway.flows import Account, Board, Wait, WaitToken
from tuneway.flows._identity import identify
from tuneway.models import File, Job
from tuneway.progress import News
from tuneway.requester import Requester

SHA = "a" * 64
TRAIN = flows.name_with_hash("train.jsonl", SHA)


def name_of(generation: int, *, reuse: Reuse = "run", kind: str = "", key: str | None = "nightly") -> str:
    """The name that `Stage.submit` gives a job, on services where the client chooses it."""
    service = FakeService()
    service.add_file(filename=TRAIN)
    spec = JobSpec(model="base", training_file="file-1")
    flow = identify(Account(), spec, Requester(key=key), reuse=reuse)
    return flows.Names.of(VirtualDriver(service).run(flow), kind).name(generation)


@dataclass
class Stage:
    """One account at one service; everything it does leaves a trail."""

    service: FakeService
    driver: VirtualDriver
    account: Account = field(default_factory=Account)

    def submit(self, *, key: str | None = "nightly", dies_at: int | None = None, **options: Any) -> Job:
        """Submit a job, as a process of its own."""
        spec = options.pop("spec", None) or JobSpec(model="base", training_file="file-1")
        who = {name: options.pop(name) for name in ("mark", "keep_origin") if name in options}
        flow = flows.submit(self.account, spec, requester=Requester(key=key, **who), **options)
        return self.driver.run(flow, dies_at=dies_at)

    def rival(self, **fields: Any) -> dict[str, Any]:
        """Adds a job with the intent of `submit`, made by another client. Its marks come from a second service."""
        elsewhere = FakeService(files=self.service.files)
        Stage(elsewhere, VirtualDriver(elsewhere), Account(carrier=self.account.carrier)).submit()
        (twin,) = elsewhere.jobs
        kept = {"metadata": dict(twin["metadata"]) if self.service.keeps_metadata else None}
        kept |= {"suffix": twin["suffix"]} if "suffix" in twin else {}
        return self.service.add_job(**kept | fields)

    def upload(self, path: Path, *, sha256: str = SHA, dies_at: int | None = None, **options: Any) -> File:
        """Upload a file, as a process of its own."""
        source = Source(path, path.stat().st_size)
        flow = flows.upload(self.account, source, name=path.name, sha256=sha256, **options)
        return self.driver.run(flow, dies_at=dies_at)

    def wait(self, *jobs: str | WaitToken, follows: bool = True, timeout: float | None = None) -> list[Wait]:
        """Wait for jobs; what is told is in `driver.told`, as for all flows."""
        board = Board()
        deadline = flows.deadline_after(timeout, self.driver.now)
        for job in jobs:
            token = job if isinstance(job, WaitToken) else WaitToken(job_id=job, deadline=deadline)
            board.add(Wait(self.account, token, self.driver.told.append, follows=follows))
        waits = board.waits
        self.driver.run(flows.watch(self.account, board))
        return waits

    def heard(self, kind: type[News]) -> list[Any]:
        """The news of one kind."""
        return self.driver.heard(kind)

    @property
    def trail(self) -> list[str]:
        """What happened, without the request that identifies the file."""
        return [step for step in self.driver.trail if step != "GET /files/file-1"]
