"""One job per intent: the submit protocol.

The service has no idempotency key, a create costs money, and anything may break at any moment. What
services do have is metadata on jobs, and a list of them. So a wish for a job gets a name that every
process computes alike (`_identity`), the name rides on the job, and the list says what exists:

    LOOK ──nothing──▶ CREATE ──sent──▶ SETTLE ──something──▶ RESOLVE ──▶ done
      │                  ▲             │    ▲                   ▲
      │                  └───nothing───┘    │                   │
      ├──alive──────────────────────────────┘                   │
      └──ready──────────────────────────────────────────────────┘

* LOOK: a job that lives or has succeeded is adopted. Failed and cancelled ones make room for the next
  attempt; their number is its generation.
* CREATE is sent once. Refused for speed, or never connected: surely not processed, so it is sent again.
  Accepted, or a time-out, a broken or unreadable reply, 408, 409, 5xx: what is there now, a look tells.
* SETTLE: let the settle window pass, then look. By then the service shows what any request has done that
  was on its way when the window began: ours, and those of a try that died a moment before this one began,
  of which nobody knows. That is why a job that was accepted, or found alive, is watched as well: a look
  made earlier can find it alone, and a second job can still show. Only when nothing shows, and nothing was
  accepted, is a create sent again.
* RESOLVE: of several, one that has succeeded lives, else the oldest (by `created_at`, then id: the same on
  every observer), and whoever sees the others cancels those that were made for this very wish. One that
  turns out to have succeeded meanwhile makes it begin again.

Whoever comes to RESOLVE last has seen whatever the others have, so two that race agree. A job that has
succeeded is adopted at once: nothing from before its beginning is still on its way.

A look that can't be done ends the step with `LookupFailed`: "unreadable" is never "absent". The next try
starts over with a look. Guarantee: a submission that returns leaves one job for its wish, if the service
shows what a request has done within the settle window after the request has ended, well or not. What
shows later is reduced to one by the next submission.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from tuneway import calls, progress
from tuneway.errors import ApiError, LookupFailed, NotFound, SubmitUncertain, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow, sleep, tell
from tuneway.flows._identity import KEY, Intent, check_room, identify
from tuneway.flows._paging import Pager
from tuneway.flows._request import request, unreadable
from tuneway.flows.cancel import cancel
from tuneway.models import Job, JobSpec, Phase
from tuneway.requester import Requester, Reuse

CREATES = 3


class SubmitState(Enum):
    """Where a submission stands."""

    LOOK = auto()
    CREATE = auto()
    SETTLE = auto()
    RESOLVE = auto()
    DONE = auto()


class SubmitSight(Enum):
    """What a state's action found."""

    NOTHING = auto()
    ALIVE = auto()
    READY = auto()
    SENT = auto()
    SOMETHING = auto()
    ONE = auto()


TRANSITIONS: dict[SubmitState, dict[SubmitSight, SubmitState]] = {
    SubmitState.LOOK: {
        SubmitSight.NOTHING: SubmitState.CREATE,
        SubmitSight.ALIVE: SubmitState.SETTLE,
        SubmitSight.READY: SubmitState.RESOLVE,
    },
    SubmitState.CREATE: {SubmitSight.SENT: SubmitState.SETTLE},
    SubmitState.SETTLE: {SubmitSight.NOTHING: SubmitState.CREATE, SubmitSight.SOMETHING: SubmitState.RESOLVE},
    SubmitState.RESOLVE: {SubmitSight.READY: SubmitState.RESOLVE, SubmitSight.ONE: SubmitState.DONE},
}


def submit(
    account: Account,
    spec: JobSpec,
    *,
    requester: Requester | None = None,
    reuse: Reuse = "run",
    nonce: str = "",
) -> Flow[Job]:
    """Have one job for this wish: find it, or create it.

    Args:
        account: Whom to ask.
        spec: What to train.
        requester: Who asks. One that says nothing about itself is told apart by the content alone.
        reuse: "run" adopts what this requester made; "content" what anybody made of the same; "never" nothing.
        nonce: Tells this call from every other, where nothing is reused and the requester doesn't tell repeats apart.
    """
    requester = requester or Requester()
    check_room(spec.metadata, keep_origin=requester.keep_origin)
    intent = yield from identify(account, spec, requester, reuse=reuse, nonce=nonce)
    submission = _Submission(account, spec.to_wire() | {"metadata": intent.marks(spec.metadata)}, intent)
    state = SubmitState.LOOK
    while state is not SubmitState.DONE:
        state = TRANSITIONS[state][(yield from submission.actions[state]())]
    return submission.survivor


def find(account: Account, intent: Intent) -> Flow[list[Job]]:
    """All jobs that carry an intent's mark; fails closed.

    The service is asked to filter, and isn't believed: some ignore the filter.
    """
    mark = {intent.label: intent.value}
    pager = Pager(account, lambda after: calls.jobs.listing(metadata=mark, after=after, limit=100))
    found: list[Job] = []
    while not pager.done:
        if pager.pages == account.lookup_pages:
            raise LookupFailed(
                f"more than {pager.pages} pages of jobs, and the service doesn't filter them by metadata",
                hint="Nothing was created. Raise `lookup_pages`, or delete old jobs.",
                retryable=False,
            )
        try:
            page = yield from pager.next()
        except TunewayError as error:
            raise unreadable("which jobs exist for this work, so no other is created", error) from error
        found += (job for job in page if (job.metadata or {}).get(intent.label) == intent.value)
    if pager.stuck:
        raise LookupFailed(
            "the service says that there are more jobs, and doesn't list them",
            hint="Nothing was created: this service's list of jobs can't be read to its end.",
            retryable=False,
        )
    return found


@dataclass
class _Submission:
    """What a submission has learned so far, and what each state does."""

    account: Account
    body: dict[str, object]
    intent: Intent
    known: dict[str, Job] = field(default_factory=dict)
    past: set[str] = field(default_factory=set)
    creates: int = 0
    _accepted: Job | None = None
    _unclear: TunewayError | None = None
    _survivor: Job | None = None

    @property
    def actions(self) -> dict[SubmitState, Callable[[], Flow[SubmitSight]]]:
        return {
            SubmitState.LOOK: self.look,
            SubmitState.CREATE: self.create,
            SubmitState.SETTLE: self.settle,
            SubmitState.RESOLVE: self.resolve,
        }

    @property
    def survivor(self) -> Job:
        assert self._survivor is not None
        return self._survivor

    @property
    def current(self) -> list[Job]:
        """The jobs of this attempt, the best first: whatever wasn't already over when it began."""
        return sorted((job for job in self.known.values() if job.id not in self.past), key=_merit)

    def look(self) -> Flow[SubmitSight]:
        yield from self._find()
        self.past = {job.id for job in self.known.values() if job.phase.dead}
        if not self.current:
            return SubmitSight.NOTHING
        return SubmitSight.READY if all(job.done for job in self.current) else SubmitSight.ALIVE

    def create(self) -> Flow[SubmitSight]:
        if self.creates == CREATES:
            raise self._lost()
        self.creates += 1
        call = calls.jobs.create(self.body, idempotency_key=f"{self.intent.value}-{len(self.past)}")
        try:
            job = yield from request(self.account, call)
        except TunewayError as error:
            if error.processed is False:
                raise
            self._unclear = error
        else:
            self._accepted = self.known[job.id] = job
            yield from tell(progress.JobCreated(job))
        return SubmitSight.SENT

    def settle(self) -> Flow[SubmitSight]:
        """Whatever wasn't there before the create is what became of it, even if it has failed since."""
        mine = self._accepted
        yield from tell(progress.Settling(self.account.settle_window))
        yield from sleep(self.account.settle_window)
        try:
            shown = yield from self._find()
        except LookupFailed as error:
            raise (error.about(mine.id) if mine else error) from error.__cause__
        if mine and mine.id not in shown:
            yield from tell(progress.KeyNotKept(mine))
        return SubmitSight.SOMETHING if self.current else SubmitSight.NOTHING

    def resolve(self) -> Flow[SubmitSight]:
        self._survivor, *rivals = self.current
        mine = self._accepted.id if self._accepted else None
        for rival in rivals:
            ours = rival.id == mine or (rival.metadata or {}).get(KEY) == self.intent.key
            if ours and not rival.done:
                yield from self._cancel(rival)
                if self.current[0].id != self._survivor.id:
                    return SubmitSight.READY
        if self._survivor.id != mine:
            yield from tell(progress.JobAdopted(self._survivor))
        return SubmitSight.ONE

    def _find(self) -> Flow[set[str]]:
        """Learn what the list shows; what it showed before isn't forgotten when it shows less."""
        found = yield from find(self.account, self.intent)
        self.known |= {job.id: job for job in found}
        return {job.id for job in found}

    def _cancel(self, rival: Job) -> Flow[None]:
        try:
            ended = self.known[rival.id] = yield from cancel(self.account, rival.id)
        except NotFound:
            return  # it's gone
        except ApiError as error:
            if error.retryable:
                raise
            yield from tell(progress.RivalLeft(rival.id, self.survivor.id, error))
        else:
            if ended.phase is not Phase.SUCCEEDED:
                yield from tell(progress.RivalCancelled(rival.id, self.survivor.id))

    def _lost(self) -> SubmitUncertain:
        return SubmitUncertain(
            f"a job was sent {self.creates} times and never showed within {self.account.settle_window:g} s: "
            f"{self._unclear}",
            hint="Try again: the next try looks first, and adopts a job that shows late.",
        )


def _merit(job: Job) -> tuple[int, float, str]:
    """Ready before alive before dead; then the oldest, the same on every observer."""
    return (0 if job.phase is Phase.SUCCEEDED else 2 if job.phase.dead else 1, *job.age_rank)
