"""One job per intent, where the client chooses a job's name: the second submit protocol.

The service gives a name to one job only, and refuses a create with a name that is taken. So a create that is sent
twice makes one job, and a job can be read by its name at any time. There is nothing to wait for, and no second job:

    LOOK ──nothing──▶ CREATE ──sent──▶ CHECK ──something──▶ done
      │                  ▲               │
      │                  └───nothing─────┘
      └──something──▶ done

* LOOK: list the names with this intent's beginning, and read each generation by its name, up to the third one after
  the highest. A job that is alive or has succeeded is adopted; else, with `reuse="content"`, one of somebody else. A
  job that is being cancelled is read until it has ended. If all are dead, the next generation is created.
* CREATE: send the create with the name, once.
* CHECK: read the generations again, whatever was the answer. A refusal (400, 409, a quota) may mean that another
  process was faster; after a time-out, a broken reply or a 5xx the job may be there. If it is there, it is the one. If
  it isn't, a refusal is raised, and after an unclear reply the create is sent again: with the same name, so that both
  together make one job, also if the first arrives last.

Which generation comes next: the one after the highest that was seen, in the list or by its name. A deleted generation
leaves a gap, which isn't filled: jobs above it may be alive. The list may show new jobs late; that is why names beyond
the highest are read too. So two processes agree, unless a dead job is deleted in the very moment in which another
process creates the next one: the one sees a generation that the other can't know of. CHECK finds that as well. Then
the older of the two jobs is kept, and the other cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from tuneway import calls, progress
from tuneway.choices import Reuse
from tuneway.errors import LookupFailed, NotFound, SubmitUncertain, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._carrier import Named
from tuneway.flows._effects import Flow, notify, sleep
from tuneway.flows._identity import Intent, identify
from tuneway.flows._marks import CONTENT, NAME_LENGTH, ORIGIN
from tuneway.flows._names import BEGINNING, Names
from tuneway.flows._paging import find_jobs
from tuneway.flows._request import request, settling, still_ending, unreadable
from tuneway.flows.cancel import cancel_rival
from tuneway.flows.quote import check_quote
from tuneway.models import Job, JobSpec, Phase
from tuneway.requester import Requester, fitting

MAX_CREATES = 3

AHEAD = 3
"""How many names beyond the highest generation are read before a create, because the list may show jobs late."""


class NamedState(Enum):
    """The states of a submission with a name."""

    LOOK = auto()
    CREATE = auto()
    CHECK = auto()
    DONE = auto()


class NamedResult(Enum):
    """The result of a state's action, which decides the next state."""

    NOTHING = auto()
    SOMETHING = auto()
    SENT = auto()


NAMED_TRANSITIONS: dict[NamedState, dict[NamedResult, NamedState]] = {
    NamedState.LOOK: {NamedResult.NOTHING: NamedState.CREATE, NamedResult.SOMETHING: NamedState.DONE},
    NamedState.CREATE: {NamedResult.SENT: NamedState.CHECK},
    NamedState.CHECK: {NamedResult.NOTHING: NamedState.CREATE, NamedResult.SOMETHING: NamedState.DONE},
}


def submit_named(
    account: Account, spec: JobSpec, requester: Requester, *, reuse: Reuse, nonce: str, max_usd: float | None
) -> Flow[Job]:
    """Adopt the job for this intent, or create it with a name of ours. The arguments are those of `submit`."""
    carrier = account.carrier
    assert isinstance(carrier, Named)
    intent = yield from identify(account, spec, requester, reuse=reuse, nonce=nonce)
    marks = intent.marks(spec.metadata) | {ORIGIN: fitting(intent.origin, NAME_LENGTH)}
    body = spec.to_wire() | {"metadata": marks}
    names = Names.of(intent, carrier.kinds.get(spec.kind, ""))
    submission = _NamedSubmission(account, body, intent, names, afford=lambda: check_quote(account, spec, max_usd))
    state = NamedState.LOOK
    while state is not NamedState.DONE:
        state = NAMED_TRANSITIONS[state][(yield from submission.actions[state]())]
    return (yield from submission.settle_on_one())


def list_names(account: Account, beginning: str) -> Flow[list[Job]]:
    """List all jobs whose id has this beginning.

    Raises:
        LookupFailed: The list can't be read to its end.
    """
    return (
        yield from find_jobs(
            account,
            lambda after: calls.jobs.listing(name=beginning, after=after, limit=100),
            lambda job: job.id.startswith(beginning),
        )
    )


@dataclass
class _NamedSubmission:
    """The data of one submission, and the action of each state."""

    account: Account
    body: dict[str, object]
    intent: Intent
    names: Names
    afford: Callable[[], Flow[None]]
    jobs: dict[str, Job] = field(default_factory=dict)
    past: set[str] = field(default_factory=set)
    highest: int = -1
    generation: int = 0
    creates: int = 0
    _accepted: Job | None = None
    _error: TunewayError | None = None

    @property
    def actions(self) -> dict[NamedState, Callable[[], Flow[NamedResult]]]:
        return {NamedState.LOOK: self.look, NamedState.CREATE: self.create, NamedState.CHECK: self.check}

    @property
    def current(self) -> list[Job]:
        """The jobs of this attempt, best first: all that hadn't failed or been cancelled before it began."""
        return sorted((job for job in self.jobs.values() if job.id not in self.past), key=_rank)

    def look(self) -> Flow[NamedResult]:
        others = yield from self._list()
        yield from self._read_generations(ahead=AHEAD)
        self.past = {job.id for job in self.jobs.values() if job.phase.dead}
        if not self.current:
            yield from self._read_others(others)
        self.generation = self.highest + 1
        return NamedResult.SOMETHING if self.current else NamedResult.NOTHING

    def create(self) -> Flow[NamedResult]:
        if self.creates == MAX_CREATES:
            raise self._uncertain()
        if self.creates == 0:
            yield from self.afford()
        yield from self._pause()
        self.creates += 1
        name = self.names.name(self.generation)
        self.highest = max(self.highest, self.generation)
        yield from notify(progress.CreatePlanned(self.intent.key))
        try:
            reply = yield from request(self.account, calls.jobs.create(self.body, name=name))
        except TunewayError as error:
            self._error = error
        else:
            self._accepted = self.jobs[reply.id] = job = self.intent.completed(reply)
            yield from notify(progress.JobCreated(job))
            if job.id != name:
                yield from notify(progress.KeyNotKept(job))
        return NamedResult.SENT

    def check(self) -> Flow[NamedResult]:
        mine, refused = self._accepted, self._error
        try:
            yield from self._read_generations(ahead=1)
        except LookupFailed as error:
            if refused is not None and refused.processed is False and not error.retryable:
                raise refused from None
            raise (error.about(mine.id) if mine else error) from error.__cause__
        if self.current:
            return NamedResult.SOMETHING
        if refused is not None and refused.processed is False:
            raise refused
        return NamedResult.NOTHING

    def settle_on_one(self) -> Flow[Job]:
        """Choose the job. There is one; two only if a dead generation was deleted while the next was created."""
        if self._rivals():
            for job in self.current:  # the older may have died before the younger was created
                yield from self._reread(job.id)
        while rivals := self._rivals():
            yield from self._cancel(rivals[0], self.current[0])
        if not self.current:
            raise LookupFailed("the jobs for this work were deleted while they were read", hint="Try again.")
        survivor = self.current[0]
        if self._accepted is None or survivor.id != self._accepted.id:
            yield from notify(progress.JobAdopted(survivor))
        return survivor

    def _rivals(self) -> list[Job]:
        """The jobs of this intent, not those of others with the same content, that run beside the one to keep."""
        own = (job for job in self.current[1:] if self.names.generation(job.id) is not None)
        return [job for job in own if not job.done and not job.ending]

    def _list(self) -> Flow[list[Job]]:
        """Count the generations on the list; gives the jobs that somebody else created, if they may be adopted."""
        listed = yield from list_names(self.account, f"{self.names.kind}{BEGINNING}")
        seen = [number for job in listed if (number := self.names.generation(job.id)) is not None]
        self.highest = max(seen, default=-1)
        if self.intent.label != CONTENT:
            return []
        others = (job for job in listed if self.names.generation(job.id) is None)
        return [job for job in others if self.names.same_content(job.id) and not job.phase.dead]

    def _read_others(self, others: list[Job]) -> Flow[None]:
        """Read other requesters' jobs with the same content; leave out those that have failed or are ending."""
        for other in others:
            job = yield from self._read(other.id)
            if job is not None and not job.phase.dead and not job.ending:
                self.jobs[job.id] = job

    def _read_generations(self, *, ahead: int) -> Flow[None]:
        """Read each generation by its name, and this many beyond the highest, which grows with each that is there."""
        number = 0
        while number <= self.highest + ahead:
            name = self.names.name(number)
            if self._accepted is None or name != self._accepted.id:
                yield from self._reread(name)
                if name in self.jobs:
                    self.highest = max(self.highest, number)
                    yield from self._let_it_end(name)
            number += 1

    def _read(self, name: str) -> Flow[Job | None]:
        """Read a job by its name; None if there is none."""
        try:
            return self.intent.completed((yield from request(self.account, calls.jobs.retrieve(name))))
        except NotFound:
            return None
        except TunewayError as error:
            raise unreadable("whether the job for this work exists", error) from error

    def _reread(self, name: str) -> Flow[None]:
        job = yield from self._read(name)
        self.jobs.pop(name, None)
        if job is not None:
            self.jobs[name] = job

    def _let_it_end(self, name: str) -> Flow[None]:
        """Wait until a job that is being cancelled has ended, since it runs until then."""

        def look() -> Flow[bool]:
            yield from self._reread(name)
            return ended()

        def ended() -> bool:
            return name not in self.jobs or not self.jobs[name].ending

        if not ended() and not (yield from settling(self.account, look)):
            raise still_ending(name)

    def _pause(self) -> Flow[None]:
        """Pause before a create is sent again."""
        if self._error is not None:
            retry = self.account.retry
            pause = min(retry.first * 2**self.creates, retry.longest)
            yield from notify(progress.Retrying(self._error, pause, self.creates))
            yield from sleep(pause)
        self._error = None

    def _cancel(self, rival: Job, survivor: Job) -> Flow[None]:
        self.past.add(rival.id)
        ended = yield from cancel_rival(self.account, rival.id, survivor.id)
        if ended is not None and ended.phase is Phase.SUCCEEDED:
            self.jobs[rival.id] = ended
            self.past.discard(rival.id)

    def _uncertain(self) -> SubmitUncertain:
        return SubmitUncertain(
            f"a create was sent {self.creates} times, and there is no job with its name: {self._error}",
            hint="Try again: the next attempt reads the name first, and adopts a job that appears late.",
        )


def _rank(job: Job) -> tuple[int, float, str]:
    """Sort succeeded jobs first, then those that are alive, then the others; among equals, the oldest first."""
    return (0 if job.phase is Phase.SUCCEEDED else 2 if job.phase.dead else 1, *job.age_rank)
