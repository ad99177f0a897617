"""What must hold, whatever goes wrong: for the simulator.

The witness sees what clients send, hear and are told, and what truly is; it believes none of them.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.sim_faults import WINDOW

from tuneway import calls, progress
from tuneway.calls import Request, Response
from tuneway.choices import Reuse
from tuneway.errors import (
    ConnectionFailed,
    JobCancelled,
    JobFailed,
    TransportError,
    TunewayError,
)
from tuneway.flows import CONTENT, KEY, Account, Send, Suffix
from tuneway.flows._identity import Intent, identify
from tuneway.flows._marks import in_suffix
from tuneway.models import Job
from tuneway.requester import Requester

if TYPE_CHECKING:
    from support.sim_world import Client, World

LONGEST = 40_000
"""Effects after which a schedule is taken for one that never ends."""


class Broken(AssertionError):
    """A promise was broken."""


@functools.cache
def intent(reuse: Reuse, nonce: str = "") -> Intent:
    """The intent of a client, computed by the flow itself, for the file that all schedules use."""
    from support.sim_world import KEY as ASKED
    from support.sim_world import SPEC

    name = f"train.sha256-{'a' * 64}.jsonl"
    file = Response(200, {}, f'{{"id": "file-1", "filename": "{name}"}}'.encode())
    flow = identify(Account(), SPEC, Requester(key=ASKED), reuse=reuse, nonce=nonce)
    effect = next(flow)
    while True:
        try:
            effect = flow.send(file if isinstance(effect, Send) else 0.0)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@dataclass
class Memory:
    """What was seen of one process."""

    intent: Intent
    looked: bool = False
    look_sent: float = 0.0
    created: bool = False
    unclear_until: float = 0.0
    last_line: int = 0
    ended: str | None = None
    name: str | None = None


class Witness:
    """Sees everything; raises `Broken`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.counts: Counter[str] = Counter()
        self.left = False  # the service refused to cancel a double
        self._memories: dict[str, Memory] = {}
        self._told: dict[str, set[str]] = {}
        self._deaths = 0

    def others_marks(self) -> dict[str, Any]:
        """The fields of a job that another pipeline made of the same data."""
        carrier, content = self.world.carrier, intent("content").content
        marks = {KEY: f"another pipeline's {self.world.rng.random()}", CONTENT: content}
        fields: dict[str, Any] = {"training_file": "file-1", "metadata": None, "marks": marks}
        if isinstance(carrier, Suffix):
            key = f"{self.world.rng.getrandbits(128):032x}"
            return fields | {"suffix": in_suffix(carrier, None, {"key": key, "content": content, "origin": key})}
        return fields | ({"metadata": marks} if self.world.scenario.carrier == "metadata" else {})

    def key_of(self, job_id: str) -> str | None:
        """The key of a job, whatever the service shows."""
        return self.world.service.mark_of(job_id, KEY)

    def alive(self, key: str | None = None) -> list[dict[str, Any]]:
        """The jobs of our clients that cost money or have given a model, in truth."""
        keys = [key] if key else [intent("run").key, intent("content").key]
        return [job for job in self.world.service.alive if self.key_of(job["id"]) in keys]

    # --- while it happens ---

    def begins(self, client: Client) -> None:
        """A process starts."""
        if client.token is None:
            self._told[client.name] = set()
        last = self._memories.get(client.name)
        nonce = f"{client.name}/{client.process}" if client.reuse == "never" else ""
        memory = self._memories[client.name] = Memory(intent(client.reuse, nonce))
        if last is not None and client.token is not None:
            memory.last_line = last.last_line

    def lives(self, client: Client) -> None:
        """An effect was asked for."""
        if self.world.effects > LONGEST:
            raise Broken(f"{client.name} goes on for ever")

    def sends(self, client: Client, request: Request) -> None:
        """A request leaves."""
        memory = self._memories[client.name]
        match request.method, request.path:
            case ("GET", calls.jobs.ROOT):
                memory.look_sent = self.world.now
            case ("POST", calls.jobs.ROOT):
                self.counts["creates sent"] += 1
                if memory.created:
                    raise Broken(f"{client.name} creates though its create was accepted")
                if not memory.looked:
                    raise Broken(f"{client.name} creates without having seen that there is nothing")
            case ("POST", path) if path.endswith("/cancel"):
                self.counts["cancels sent"] += 1
                job_id = path.split("/")[-2]
                if self.key_of(job_id) != memory.intent.key:
                    raise Broken(f"{client.name} cancels {job_id}, which was made for another intent")

    def hears(self, client: Client, request: Request, heard: Response | TransportError) -> None:
        """A reply arrives, or what comes instead."""
        memory, now = self._memories[client.name], self.world.now
        fine = isinstance(heard, Response) and heard.status == 200 and heard.content.endswith(b"}")
        match request.method, request.path:
            case ("GET", calls.jobs.ROOT):
                memory.looked = fine and memory.look_sent >= memory.unclear_until
            case ("POST", calls.jobs.ROOT):
                refused = heard.status == 429 if isinstance(heard, Response) else isinstance(heard, ConnectionFailed)
                if not refused:
                    memory.created = fine
                    memory.looked = False
                    memory.unclear_until = now + WINDOW

    def told(self, client: Client, news: progress.News) -> None:
        """A client's user is told something."""
        memory = self._memories[client.name]
        self.counts[type(news).__name__] += 1
        match news:
            case progress.Logged():
                if news.event.id in self._told[client.name]:
                    raise Broken(f"{client.name} is told {news.event.id} twice")
                self._told[client.name].add(news.event.id)
                line = int(news.event.id.rpartition("-")[2])
                if line <= memory.last_line:
                    raise Broken(f"{client.name} is told line {line} after line {memory.last_line}")
                memory.last_line = line
            case progress.JobChanged():
                if memory.ended and news.job.status != memory.ended:
                    raise Broken(f"{client.name} sees {news.job.id} {news.job.status} after {memory.ended}")
                memory.ended = news.job.status if news.job.done else None
            case progress.KeyNotKept() if self.world.scenario.carrier == "dropped":
                pass
            case progress.RivalLeft() | progress.KeyNotKept():
                raise Broken(f"{client.name} is told: {news}")

    def submitted(self, client: Client, job: Job) -> None:
        """A client has its job."""
        wanted = self._memories[client.name].intent
        if self.world.service.mark_of(job.id, wanted.label) != wanted.value:
            raise Broken(f"{client.name} has {job.id}, which isn't what it asked for")

    def failed(self, client: Client, error: TunewayError) -> None:
        """A process ends with an error."""
        self.counts[type(error).__name__] += 1
        for kind, status in ((JobFailed, "failed"), (JobCancelled, "cancelled")):
            if isinstance(error, kind):
                assert error.job_id is not None
                truth = self.statuses(error.job_id)
                if status not in truth:
                    raise Broken(f"{client.name} is told that {error.job_id} is {status}; it is {', '.join(truth)}")

    def statuses(self, job_id: str) -> list[str]:
        """The status of a job in truth; several if there were several with this name."""
        return [self.world.service.job(job_id)["status"]]

    def ended(self, client: Client) -> None:
        """A client is done, well or not."""
        if client.result is not None:
            truth = self.world.service.job(client.result.id)["status"]
            if truth != "succeeded":
                raise Broken(f"{client.name} has a model from {client.result.id}, which is {truth}")

    def born(self, job: dict[str, Any]) -> None:
        """The service has a new job."""
        self.counts["jobs"] += 1

    def dies(self, job: dict[str, Any]) -> None:
        """A job ends, and no client did it."""
        self._deaths += job["status"] != "succeeded"

    # --- when it is over ---

    def check_one(self) -> None:
        """Check that at most one job lives for each intent, and exactly one if nothing else ended any."""
        for key in (intent("run").key, intent("content").key):
            alive = self.alive(key)
            if len(alive) > 1:
                raise Broken(f"{len(alive)} jobs live for one intent: {', '.join(job['id'] for job in alive)}")
        key = intent("run").key
        made = [job for job in self.world.service.jobs if self.key_of(job["id"]) == key]
        if made and not self._deaths and not self.alive(key):
            raise Broken("no job lives, though nobody but clients ended any")

    def check_same_end(self) -> None:
        """Check that all clients end with the same job, or with an error.

        With `reuse="content"`, any job with the same content may be adopted. So a client has the job of another
        intent if that was the only one when it looked. Of the jobs that were created for the intent itself, all
        clients have the same.
        """
        ways: tuple[Reuse, ...] = ("run", "content")
        for way in ways:
            results = [c.result for c in self.world.clients if c.reuse == way and c.result is not None]
            models = {job.id for job in results if self.key_of(job.id) == intent(way).key}
            if len(models) > 1:
                raise Broken(f"clients ended with different jobs: {', '.join(sorted(models))}")

    def check_reduced(self) -> None:
        """After a quiet submission nothing runs beside the one that is left."""
        for key in (intent("run").key, intent("content").key):
            running = [job for job in self.alive(key) if job["status"] != "succeeded"]
            ready = len(self.alive(key)) - len(running)
            if len(running) > (0 if ready else 1):
                raise Broken(f"{len(running)} jobs run, {ready} have succeeded, after a quiet submission")
