"""Submit, upload, wait and cancel in any order, effect by effect: hypothesis looks for one that breaks them.

Where the simulator draws millions of whole schedules, hypothesis builds short ones, and makes the shortest
of one that breaks a promise.
"""

# mypy: warn-return-any=False

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.sim_faults import BY_NAME, WINDOW
from support.sim_service import LateService
from support.stage import SHA

from tuneway import JobSpec, flows, progress
from tuneway.calls import Request, Response, Source
from tuneway.errors import JobCancelled, JobFailed, TransportError, TunewayError
from tuneway.flows import KEY, Account, Board, Flow, Notify, Now, Send, Sleep, Wait, WaitToken, Work
from tuneway.requester import Requester

DATA = b'{"prompt": "a", "completion": "b"}\n' * 10
SPEC = JobSpec(model="base", training_file="file-1")
ENDS = ("succeeded", "failed", "cancelled")

CLIENTS = st.integers(min_value=0, max_value=2)
FAULTS = st.sampled_from(["fine"] * 12 + [name for name in BY_NAME if name != "fine"])


@dataclass
class Actor:
    """One client: what it wants, and how far its present process has come."""

    number: int
    goal: str | None = None
    flow: Flow[Any] | None = None
    effect: Any = None
    wakes: float = 0.0
    job_id: str | None = None
    token: WaitToken | None = None
    told: list[str] = field(default_factory=list)
    looked: bool = False
    result: Any = None
    error: TunewayError | None = None


class Pipelines(RuleBasedStateMachine):
    """Three clients of one intent, a service that lags, and a person who ends jobs."""

    @initialize(filters=st.booleans(), tells=st.booleans(), cap=st.sampled_from([1, 100]))
    def open(self, filters: bool, tells: bool, cap: int) -> None:
        ids = itertools.count(1)
        self.now = 1_000_000.0
        self.service = LateService(
            filters_metadata=filters, tells_has_more=tells, page_cap=cap, clock=lambda: self.now,
            new_id=lambda: f"{next(ids):03}",
        )  # fmt: skip
        self.service.add_file(filename=flows.name_with_hash("train.jsonl", SHA), bytes=len(DATA) + 1)
        self.others = [self.service.add_job(metadata={KEY: "another pipeline's"}, created_at=1)]
        self.actors = [Actor(number) for number in range(3)]
        self.late: list[tuple[float, float, Request]] = []
        self.broken: list[str] = []
        self.meddled = False

    # --- what clients want ---

    @rule(number=CLIENTS, goal=st.sampled_from(["submit", "submit", "upload"]))
    def begins(self, number: int, goal: str) -> None:
        self._begin(number, goal)

    @rule(number=CLIENTS, goal=st.sampled_from(["wait", "wait", "cancel"]), which=st.integers(min_value=0, max_value=5))
    def begins_with_a_job(self, number: int, goal: str, which: int) -> None:
        self._begin(number, goal, which)

    def _begin(self, number: int, goal: str, which: int = 0) -> None:
        actor = self.actors[number]
        if actor.flow is not None or actor.goal is not None:
            return
        ours = [job["id"] for job in self.service.jobs if job not in self.others]
        if goal in ("wait", "cancel"):
            if not ours:
                return
            actor.job_id = ours[which % len(ours)]
            actor.token = None
            actor.told.clear()
        self.meddled |= goal == "cancel"
        actor.goal = goal
        self._start(actor)

    def _start(self, actor: Actor) -> None:
        account = Account(settle=WINDOW)
        make: dict[str, Callable[[], Flow[Any]]] = {
            "submit": lambda: flows.submit(account, SPEC, requester=Requester(key="k")),
            "upload": lambda: flows.upload(
                account, Source(Path("train.jsonl"), len(DATA)), name="train.jsonl", sha256=SHA
            ),
            "cancel": lambda: flows.cancel(account, actor.job_id or ""),
            "wait": lambda: self._wait(account, actor),
        }
        assert actor.goal is not None
        actor.flow, actor.effect, actor.wakes, actor.looked = make[actor.goal](), None, self.now, False
        self._resume(actor)

    def _wait(self, account: Account, actor: Actor) -> Flow[Any]:
        board = Board()
        actor.token = actor.token or WaitToken(job_id=actor.job_id or "")
        wait = Wait(account, actor.token, lambda _news: None, follows=True)
        board.add(wait)
        yield from flows.watch(account, board)
        return wait.result()

    # --- what happens to them ---

    @rule(number=CLIENTS, fault=FAULTS)
    def goes_on(self, number: int, fault: str) -> None:
        self._step(self.actors[number], fault)

    @rule(fault=FAULTS)
    def everybody_goes_on(self, fault: str) -> None:
        for actor in self.actors:
            self._step(actor, fault)

    @rule(number=CLIENTS, faults=st.lists(FAULTS, min_size=1, max_size=12))
    def goes_far(self, number: int, faults: list[str]) -> None:
        actor = self.actors[number]
        for fault in faults:
            if actor.flow is not None and actor.wakes > self.now:
                self._pass_time(actor.wakes)
            self._step(actor, fault)

    @rule(number=CLIENTS, delay=st.sampled_from([None, 0.0, 1.0, WINDOW - 1]))
    def dies(self, number: int, delay: float | None) -> None:
        """A process ends; what it was about to send may be on its way already."""
        actor = self.actors[number]
        if actor.flow is None:
            return
        actor.flow.close()
        actor.flow = None
        if delay is not None and isinstance(actor.effect, Send) and actor.wakes <= self.now:
            self.late.append((self.now + delay, self.now + WINDOW, actor.effect.request))

    @rule(number=CLIENTS)
    def is_started_again(self, number: int) -> None:
        actor = self.actors[number]
        if actor.goal is not None and actor.flow is None:
            self._start(actor)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 19.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self._pass_time(self.now + seconds)

    @precondition(lambda self: any(actor.flow and actor.wakes > self.now for actor in self.actors))
    @rule()
    def somebody_wakes(self) -> None:
        self._pass_time(min(actor.wakes for actor in self.actors if actor.flow and actor.wakes > self.now))

    @rule(lag=st.sampled_from([0.0, 1.0, WINDOW]))
    def the_list_lags(self, lag: float) -> None:
        self.service.lag = lag

    @rule(which=st.integers(min_value=0, max_value=5), status=st.sampled_from(ENDS))
    def a_job_ends(self, which: int, status: str) -> None:
        alive = [job for job in self.service.jobs if job["status"] not in ENDS and job not in self.others]
        if alive and not any(actor.goal == "submit" for actor in self.actors):  # training takes longer than that
            self.service.finish(alive[which % len(alive)]["id"], status)
            self.meddled = True

    @rule(which=st.integers(min_value=0, max_value=5))
    def a_job_says_something(self, which: int) -> None:
        alive = [job for job in self.service.jobs if job["status"] not in ENDS]
        self.service.add_event(alive[which % len(alive)]["id"], "a line")

    # --- how ---

    def _step(self, actor: Actor, fault_name: str) -> None:
        """Carry out the effect that a client asked for last."""
        if actor.flow is None or actor.wakes > self.now:
            return
        if isinstance(actor.effect, Send):
            heard = self._exchange(actor, actor.effect.request, fault_name)
            if isinstance(heard, Response):
                self._resume(actor, heard)
            else:
                self._resume(actor, None, heard)
        else:
            self._resume(actor)

    def _resume(self, actor: Actor, value: Any = None, error: TransportError | None = None) -> None:
        """Go on to the next effect that takes time."""
        assert actor.flow is not None
        while True:
            try:
                actor.effect = actor.flow.send(value) if error is None else actor.flow.throw(error)
            except StopIteration as end:
                actor.result = end.value
                self._check_result(actor)
                actor.flow = actor.goal = None
                return
            except TunewayError as failure:
                self._check_error(actor, failure)
                actor.flow = None
                actor.goal = actor.goal if failure.retryable else None
                return
            value = error = None
            match actor.effect:
                case Now():
                    value = self.now
                case Notify():
                    self._hear(actor, actor.effect.news)
                case Work():
                    value = actor.effect.run(lambda _news: None)
                case Sleep():
                    actor.wakes = self.now + actor.effect.seconds
                    return
                case Send():
                    return

    def _exchange(self, actor: Actor, request: Request, fault_name: str) -> Response | TransportError:
        fault = BY_NAME[fault_name]
        match request.method, request.path:
            case "GET", "/fine_tuning/jobs":
                actor.looked = fault_name in ("fine", "twice")
            case "POST", "/fine_tuning/jobs":
                if not actor.looked:
                    self.broken.append(f"client {actor.number} creates without a look")
                actor.looked = fault_name in ("429", "429 with a pause", "refused")
        if request.path.endswith("/cancel"):
            job = self.service.job(request.path.split("/")[-2])
            if job in self.others:
                self.broken.append(f"client {actor.number} cancels {job['id']}, which isn't ours")
        if fault.acts in ("late", "twice"):
            self.late.append((self.now + WINDOW - 1, self.now + WINDOW, request))
        return fault.heard(self._serve(request) if fault.acts in ("at once", "twice") else None)

    def _serve(self, request: Request, sure_at: float | None = None) -> Response:
        self.service.stamp = self.now
        self.service.sure_at = sure_at or self.now + WINDOW
        if request.form is not None:  # there is no such file on disk
            name = request.form.file.filename
            file = self.service.add_file(filename=name, bytes=len(DATA))
            return Response(200, {}, json.dumps(file).encode())
        return self.service.handle(request)

    def _pass_time(self, until: float) -> None:
        """What is late arrives on its way, within the window."""
        due = sorted((item for item in self.late if item[0] <= until), key=lambda item: item[0])
        self.late = [item for item in self.late if item[0] > until]
        for moment, sure_at, request in due:
            self.now = max(self.now, moment)
            self._serve(request, sure_at)
        self.now = until

    def _hear(self, actor: Actor, news: progress.News) -> None:
        if isinstance(news, progress.Logged):
            if news.event.id in actor.told:
                self.broken.append(f"client {actor.number} is told {news.event.id} twice")
            actor.told.append(news.event.id)
            actor.token = WaitToken.load(news.token)

    # --- what must hold ---

    def _check_result(self, actor: Actor) -> None:
        match actor.goal:
            case "upload":
                assert flows.hash_in(actor.result.filename) == SHA
                assert actor.result.bytes == len(DATA)
            case "cancel":
                assert actor.result.done
                assert self.service.job(actor.result.id)["status"] in ENDS
            case "wait":
                assert self.service.job(actor.result.id)["status"] == "succeeded"

    def _check_error(self, actor: Actor, error: TunewayError) -> None:
        if isinstance(error, JobFailed | JobCancelled):
            truth = self.service.job(error.job_id or "")["status"]
            assert truth == ("failed" if isinstance(error, JobFailed) else "cancelled")

    @invariant()
    def nothing_is_broken(self) -> None:
        assert getattr(self, "broken", []) == []

    @invariant()
    def ended_jobs_stay_ended(self) -> None:
        for life in self.service.lives.values() if hasattr(self, "service") else ():
            ends = [status for status, _ in life.states if status in ENDS]
            assert len(ends) <= 1

    def teardown(self) -> None:
        """When every client has been let come to its end in peace, one job lives."""
        if not hasattr(self, "service"):
            return
        self._finish([actor for actor in self.actors if actor.goal != "wait"])
        assert self.broken == []
        alive = [job["id"] for job in self.service.alive if job not in self.others]
        assert len([name for name in alive if self.service.job(name)["status"] != "succeeded"]) <= 1
        assert self.meddled or len(alive) == (len(self.service.jobs) > len(self.others))
        for number, name in enumerate(alive):
            self.service.finish(name, ENDS[number % 3])
        self._finish(self.actors)
        assert self.broken == []

    def _finish(self, actors: list[Actor]) -> None:
        """Let these clients reach what they want, in peace."""
        for _ in range(4000):
            busy = [actor for actor in actors if actor.goal is not None]
            if not busy and not self.late:
                return
            for actor in busy:
                if actor.flow is None:
                    self._start(actor)
                self._step(actor, "fine")
            if all(actor.flow is None or actor.wakes > self.now for actor in busy):
                self._pass_time(min((actor.wakes for actor in busy if actor.flow), default=self.now + WINDOW))
        raise AssertionError("it goes on for ever")


TestPipelines = Pipelines.TestCase
TestPipelines.settings = settings(settings(), stateful_step_count=60)
