"""Clients, a service and the time between them: for the simulator.

Each client is one step of a pipeline as an engine runs it: submit, then wait; again after an error that a
retry can cure, and again after a crash. Its flow runs until it asks for something that takes time; then
whoever's time comes first goes on. Every effect may be the last of its process.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from support.sim_faults import FINE, TROUBLES, TWICE, WINDOW, Scenario
from support.sim_service import LateService
from support.sim_witness import Witness

from tuneway import JobSpec, calls, flows
from tuneway.calls import Request, Response
from tuneway.choices import Reuse
from tuneway.errors import TransportError, TunewayError
from tuneway.flows import (
    Account,
    Board,
    Carrier,
    Effect,
    Flow,
    Marks,
    Named,
    Notify,
    Now,
    Poll,
    Send,
    Sleep,
    Suffix,
    Wait,
    WaitToken,
)  # fmt: skip
from tuneway.flows._memory import Memory
from tuneway.models import Job
from tuneway.progress import Logged, News
from tuneway.requester import Requester

START = 1_700_000_000.0
POLL = Poll(minimum=20.0, maximum=240.0, growth=2.0)
SPEC = JobSpec(model="base", training_file="file-1", metadata={"team": "a"})
KEY = "nightly/2026-11-20"
CARRIERS: dict[str, Carrier] = {
    "metadata": Marks(),
    "dropped": Marks(),
    "suffix": Suffix(),
    "key in suffix": Suffix(room=40, marks=("key",)),
    "named": Named(),
}


@dataclass
class Client:
    """A step of a pipeline, over all its processes, and what its engine remembers of it."""

    name: str
    reuse: Reuse
    tries_left: int
    crashes_left: int
    process: int = 0
    flow: Flow[Job] | None = None
    phase: str = "submit"
    token: WaitToken | None = None
    wait: Wait | None = None
    result: Job | None = None
    error: TunewayError | None = None

    @property
    def done(self) -> bool:
        """Whether its engine has nothing more to do for it."""
        return self.result is not None or self.error is not None

    @property
    def gave_up(self) -> bool:
        """Whether it ended with an error that another try could have cured."""
        return self.error is not None and self.error.retryable


@dataclass
class World:
    """One schedule."""

    scenario: Scenario
    rng: random.Random
    trace: Callable[[str], object] | None = None
    now: float = START
    effects: int = 0
    in_flight: int = 0
    clients: list[Client] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)

    service_class: ClassVar[type[LateService]] = LateService
    witness_class: ClassVar[type[Witness]] = Witness

    def __post_init__(self) -> None:
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        scenario = self.scenario
        self.service = self.service_class(
            filters_metadata=scenario.filters_metadata,
            tells_has_more=scenario.tells_has_more,
            page_cap=scenario.page_cap,
            keeps_metadata=scenario.carrier == "metadata",
            honours_idempotency=scenario.honours_idempotency,
            clock=lambda: self.now,
            new_id=lambda: f"{self.rng.getrandbits(40):010x}",
        )
        self.witness = self.witness_class(self)
        self.service.add_file(filename=flows.name_with_hash("train.jsonl", "a" * 64))
        self.service.stamp = self.now - 1000
        self.service.on_job = self._born
        self.others = [self.service.add_job(status=status, **self.witness.others_marks()) for status in scenario.others]
        for number, reuse in enumerate(scenario.reuse):
            self.add_client(f"client {number + 1}", reuse, self.rng.uniform(0, scenario.apart))

    @property
    def carrier(self) -> Carrier:
        """Where jobs have their marks."""
        return CARRIERS[self.scenario.carrier]

    # --- time ---

    def at(self, moment: float, happen: Callable[[], None]) -> None:
        """Let something happen at a moment."""
        heapq.heappush(self._agenda, (moment, next(self._order), happen))

    def run(self) -> None:
        """Let everything happen, until all clients are done and nothing is on its way."""
        while self.in_flight or not all(client.done for client in self.clients):
            self.now, _, happen = heapq.heappop(self._agenda)
            happen()

    def say(self, who: str, what: str) -> None:
        """A line of a replay."""
        assert self.trace is not None
        self.trace(f"{self.now - START:9.2f}  {who:<9} {what}")

    # --- clients ---

    def add_client(self, name: str, reuse: Reuse, delay: float, *, crashes: int | None = None) -> Client:
        """A step that starts after a while."""
        crashes = self.scenario.crashes if crashes is None else crashes
        client = Client(name, reuse, self.scenario.tries, crashes)
        self.clients.append(client)
        self.at(self.now + delay, lambda: self._begin(client))
        return client

    def _begin(self, client: Client) -> None:
        """Start a process."""
        client.process += 1
        resumes = self.scenario.resumes and client.token is not None
        if not resumes:
            client.token = None
        client.phase = "wait" if resumes else "submit"
        client.wait = None
        client.flow = self._step(client)
        self.witness.begins(client)
        if self.trace:
            self.say(client.name, f"--- process {client.process} begins, with {client.phase}")
        self._advance(client)

    def _step(self, client: Client) -> Flow[Job]:
        account = Account(settle=WINDOW, poll=POLL, carrier=self.carrier)
        if self.scenario.carrier == "dropped":  # nothing but the memory of one process knows its jobs
            account = replace(account, memory=self.memory)
        if client.token is None:
            nonce = f"{client.name}/{client.process}" if client.reuse == "never" else ""
            job = yield from flows.submit(account, SPEC, requester=Requester(key=KEY), reuse=client.reuse, nonce=nonce)
            timeout = self.scenario.deadline
            deadline = flows.deadline_after(timeout, (yield from flows.now()))
            client.token = WaitToken(job_id=job.id, deadline=deadline)
            client.phase = "wait"
            self.witness.submitted(client, job)
        board = Board()
        client.wait = Wait(account, client.token, lambda news: None, follows=self.scenario.follows)
        board.add(client.wait)
        for job in self.others if self.scenario.shares else ():
            board.add(Wait(account, WaitToken(job_id=job["id"]), lambda news: None))
        yield from flows.watch(account, board, enough=lambda: client.wait not in board.waits)
        return client.wait.result()

    def _advance(self, client: Client, value: Any = None, error: TransportError | None = None) -> None:
        """Let a client go on until it asks for something that takes time."""
        flow = client.flow
        assert flow is not None
        while True:
            try:
                effect = flow.send(value) if error is None else flow.throw(error)
            except StopIteration as end:
                self._succeeded(client, end.value)
                return
            except TunewayError as failure:
                self._failed(client, failure)
                return
            value = error = None
            self.effects += 1
            self.witness.lives(client)
            if isinstance(effect, Now):  # a crash here is one before the next effect
                value = self.now
                continue
            if client.crashes_left and self.rng.random() < self.scenario.crash * _danger(effect):
                self._crash(client, effect)
                return
            match effect:
                case Notify():
                    self._tell(client, effect.news)
                case Sleep():
                    self._resume(client, effect.seconds + self._pause())
                    return
                case Send():
                    self.send(client, effect.request)
                    return
                case _:
                    raise AssertionError(effect)

    def _resume(self, client: Client, delay: float, value: Any = None, error: TransportError | None = None) -> None:
        process = client.process

        def resume() -> None:
            if client.process == process and client.flow is not None:
                self._advance(client, value, error)

        self.at(self.now + delay, resume)

    def _pause(self) -> float:
        """Once in a while a process stands still: a swapped machine, a suspended one."""
        return self.rng.uniform(0, 60) if self.rng.random() < self.scenario.pause else 0.0

    def _tell(self, client: Client, news: News) -> None:
        if isinstance(news, Logged):
            client.token = WaitToken.load(news.token)
        self.witness.told(client, news)
        if self.trace:
            self.say(client.name, f"tells: {news}")

    def _crash(self, client: Client, effect: object) -> None:
        """End a process at an effect; a request may be on its way already, and arrive later."""
        client.crashes_left -= 1
        self.witness.counts["crashes"] += 1
        if not self.scenario.resumes:
            client.phase = "submit"
        assert client.flow is not None
        client.flow.close()
        client.flow = None
        if isinstance(effect, Send) and self.rng.random() < 0.7:
            delay = self.rng.uniform(0, self.scenario.late)
            if self.trace:
                self.say(client.name, f"dies, with {_name(effect.request)} on its way (arrives in {delay:.2f} s)")
            self._deliver(effect.request, delay, ends=self.now, stamp=self.now)
        elif self.trace:
            self.say(client.name, f"dies before {type(effect).__name__}")
        self.at(self.now + self.rng.choice((0.0, 0.5, 5.0, 30.0)), lambda: self._begin(client))

    def _succeeded(self, client: Client, job: Job) -> None:
        client.flow, client.result = None, job
        self.witness.ended(client)
        if self.trace:
            self.say(client.name, f"=== has its model from {job.id}")

    def _failed(self, client: Client, error: TunewayError) -> None:
        client.flow = None
        client.tries_left -= 1
        again = error.retryable and client.tries_left > 0
        self.witness.failed(client, error)
        if self.trace:
            told = str(error).splitlines()[0]
            self.say(client.name, f"{'---' if again else '==='} {type(error).__name__}: {told}")
        if again:
            client.token, client.phase = None, "submit"
            self.at(self.now + self.rng.choice((0.0, 1.0, 10.0, 60.0)), lambda: self._begin(client))
        else:
            client.error = error
            self.witness.ended(client)

    # --- between a client and the service ---

    def send(self, client: Client, request: Request) -> None:
        """Carry a request, and its reply, as far as they come."""
        creates = request.method == "POST" and request.path == calls.jobs.ROOT
        self.witness.sends(client, request)
        chance = self.scenario.trouble_on_create if creates else self.scenario.trouble_on_look
        troubles = TROUBLES if self.scenario.carrier == "dropped" else (*TROUBLES, TWICE)
        fault = self.rng.choice(troubles) if self.rng.random() < chance else FINE
        there, back = self.rng.expovariate(8), self.rng.expovariate(8)
        if self.rng.random() < 0.05 or fault.acts == "late":
            there += self.rng.uniform(0, 60)
        ends = self.now + there + back
        if self.trace:
            self.say(client.name, f"sends {_name(request)} [{fault.name}]")

        def answer(honest: Response | None) -> None:
            heard = fault.heard(honest)
            self.witness.hears(client, request, heard)
            if isinstance(heard, Response):
                self._resume(client, back + self._pause(), heard)
            else:
                self._resume(client, back + self._pause(), None, heard)

        if fault.acts in ("at once", "twice"):
            self._deliver(request, there, ends=ends, stamp=self.now, answer=answer)
            if fault.acts == "twice":
                self._deliver(request, there + self.rng.uniform(0, self.scenario.late), ends=ends, stamp=self.now)
            return
        if fault.acts == "late":
            delay = self.rng.uniform(0, self.scenario.late)
            self._deliver(request, there + back + delay, ends=ends, stamp=self.now)
        self.at(self.now + there, lambda: answer(None))

    def _deliver(
        self, request: Request, delay: float, *, ends: float, stamp: float,
        answer: Callable[[Response], None] | None = None,
    ) -> None:  # fmt: skip
        """Let the service act on a request after a while."""
        self.in_flight += 1

        def arrive() -> None:
            self.in_flight -= 1
            service = self.service
            service.lag = self.rng.uniform(0, self.scenario.lag)
            within = self.scenario.within_guarantee
            service.sure_at = (ends if within else max(ends, self.now)) + WINDOW
            service.stamp = (stamp if self.scenario.stamps_on_receipt else self.now) + self.scenario.clock_skew
            response = service.handle(request)
            if self.trace and request.path.startswith(calls.jobs.ROOT):
                late = "" if answer else ", and nobody hears it"
                self.say("service", f"answers {_name(request)}: {_gist(response)}{late}")
            if answer:
                answer(response)

        self.at(self.now + delay, arrive)

    # --- jobs ---

    def _born(self, job: dict[str, Any]) -> None:
        """Give a new job its fate."""
        fate = self.scenario.fate
        if fate == "any":
            fate = self.rng.choice(("succeeds", "fails", "is cancelled"))
        life = self.rng.uniform(1, 12 * WINDOW)
        if fate == "succeeds":
            self.at(self.now + 6 * WINDOW + life, lambda: self._succeed(job))
        else:
            status = "failed" if fate == "fails" else "cancelled"
            self.at(self.now + life, lambda: self._end(job, status))
        if self.scenario.follows:
            for _ in range(self.rng.randrange(6)):
                self.at(self.now + self.rng.uniform(0, life), lambda: self._log(job))
        self.witness.born(job)

    def _succeed(self, job: dict[str, Any]) -> None:
        """Training takes longer than sorting out who trains: two that have both succeeded can't be taken back."""
        rivals = [other for other in self.witness.alive(self.witness.key_of(job["id"])) if other is not job]
        quiet = all(client.phase == "wait" or client.done for client in self.clients)
        waited = any(c.token and not c.done and c.token.job_id == job["id"] for c in self.clients)
        if (quiet and waited) or not (rivals or self.in_flight):
            self._end(job, "succeeded")
        else:
            self.at(self.now + self.rng.uniform(1, WINDOW), lambda: self._succeed(job))

    def _end(self, job: dict[str, Any], status: str) -> None:
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return
        self.service.finish(job["id"], status)
        self.witness.dies(job)
        if self.trace:
            self.say("service", f"{job['id']} {status}")

    def _log(self, job: dict[str, Any]) -> None:
        if job["status"] not in ("succeeded", "failed", "cancelled"):
            self.service.add_event(job["id"], f"line {len(self.service.events.get(job['id'], ())) + 1}")


def _danger(effect: Effect) -> float:
    """Where a crash hurts: with a create on its way, and while its traces settle."""
    creates = isinstance(effect, Send) and not effect.request.repeatable
    return 3.0 if creates or isinstance(effect, Sleep) else 1.0


def _name(request: Request) -> str:
    path = request.path.removeprefix("/fine_tuning")
    return f"{request.method} {path}"


def _gist(response: Response) -> str:
    """What a reply shows: jobs with their status, or the lines of a log."""
    body = json.loads(response.content)
    if body.get("error"):
        return f"{response.status} {body['error']['message']}"
    shown = [f"{item['id']} {item.get('status', '')}".strip() for item in body.get("data", [body])]
    return f"{response.status} [{', '.join(shown)}]"
