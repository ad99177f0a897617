"""One job per intent: the submit protocol.

The service has no idempotency key, a create costs money, and anything may fail at any moment. But services keep
metadata on jobs, or at least a suffix, and list jobs. So every process computes the same key and content for an intent
(`_identity`), the created job has them as marks there (`_marks`), and the list shows which jobs exist:

    LOOK ──nothing──▶ CREATE ──sent──▶ SETTLE ──something──▶ RESOLVE ──▶ done
      │                  ▲             │    ▲                   ▲
      │                  └───nothing───┘    │                   │
      ├──alive──────────────────────────────┘                   │
      └──ready──────────────────────────────────────────────────┘

* LOOK: list the jobs with this intent's mark. A job that is alive or has succeeded is adopted. Failed and
  cancelled jobs allow a new attempt; their number is its generation. If the only job is being cancelled, it is read
  until it has ended.
* CREATE: send the create once. It is sent again only if the service surely didn't process it: it refused with a
  429, or was never reached. After any other result (accepted, a time-out, a broken or unreadable reply, 408, 409,
  5xx), the list is read.
* SETTLE: wait for the settle window, then list again. By then the service shows what every request has done that
  was on its way when the window began: our create, and a create of an earlier attempt that died just before this
  one began. That is why the window also passes when our create was accepted or a job was found alive: a second
  job can still appear. The create is sent again only if no job appears and none was accepted.
* RESOLVE: choose one job: one that has succeeded, else the oldest (by `created_at`, then id, so that every process
  chooses the same). Cancel the others if they have this intent's key. If one of them turns out to have succeeded,
  choose again.

The last process to reach RESOLVE has seen everything that the others have seen, so two processes that race agree.
A job that has succeeded is adopted at once, without the settle window: no create from before it can still be on
its way.

If the list can't be read, the step ends with `LookupFailed`: an unreadable list never counts as an empty one. The
next attempt starts with LOOK. The guarantee: a submission that returns leaves one job for its intent, if the service
shows what a request has done within the settle window after the request has ended, whether it succeeded or not. If
a second job appears later, the next submission cancels it.

A service may drop the metadata. Then a job has no mark, and only the process that created it knows its id
(`_memory`). If a create's reply was lost there, and no job with the mark is listed, one page of the list is read
without a filter, and a job that can only be the create's is recognised (`_unmarked`). When a create is accepted, and
neither the reply nor the list has its marks, later creates of this process have the mark in the suffix as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any

from tuneway import calls, progress
from tuneway.choices import Reuse
from tuneway.errors import LookupFailed, NotFound, SubmitUncertain, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._carrier import Carrier, Named, Suffix
from tuneway.flows._effects import Flow, notify, now, sleep
from tuneway.flows._identity import Intent, check_room, check_suffix, identify
from tuneway.flows._marks import suffix_shown
from tuneway.flows._paging import find_jobs
from tuneway.flows._request import request, settling, still_ending, unreadable
from tuneway.flows._unmarked import known_unmarked, recognised
from tuneway.flows.cancel import cancel_rival
from tuneway.flows.named import submit_named
from tuneway.flows.quote import check_budget, check_quote
from tuneway.models import Job, JobSpec, Phase
from tuneway.requester import Requester

MAX_CREATES = 3

SUFFIX_FROM_NOW_ON = (
    "From now on this client writes the mark into the suffix of jobs as well; "
    'set service_options={"mark": "suffix"}, so that every process does'
)
SET_SUFFIX = 'If it lists the suffix of a job, set service_options={"mark": "suffix"}'
NEITHER = "It doesn't show the suffix of a job either"


class SubmitState(Enum):
    """The states of a submission."""

    LOOK = auto()
    CREATE = auto()
    SETTLE = auto()
    RESOLVE = auto()
    DONE = auto()


class SubmitResult(Enum):
    """The result of a state's action, which decides the next state."""

    NOTHING = auto()
    ALIVE = auto()
    READY = auto()
    SENT = auto()
    SOMETHING = auto()
    ONE = auto()


TRANSITIONS: dict[SubmitState, dict[SubmitResult, SubmitState]] = {
    SubmitState.LOOK: {
        SubmitResult.NOTHING: SubmitState.CREATE,
        SubmitResult.ALIVE: SubmitState.SETTLE,
        SubmitResult.READY: SubmitState.RESOLVE,
    },
    SubmitState.CREATE: {SubmitResult.SENT: SubmitState.SETTLE},
    SubmitState.SETTLE: {SubmitResult.NOTHING: SubmitState.CREATE, SubmitResult.SOMETHING: SubmitState.RESOLVE},
    SubmitState.RESOLVE: {SubmitResult.READY: SubmitState.RESOLVE, SubmitResult.ONE: SubmitState.DONE},
}


def submit(
    account: Account,
    spec: JobSpec,
    *,
    requester: Requester | None = None,
    reuse: Reuse = "run",
    nonce: str = "",
    max_usd: float | None = None,
) -> Flow[Job]:
    """Adopt the job for this intent, or create it.

    Args:
        account: The account to send requests with.
        spec: What to train.
        requester: Who asks. Without one, only the content decides which job is adopted.
        reuse: "run" adopts a job of this requester, "content" any job with the same content, "never" none.
        nonce: A value that only this call has. It becomes part of the key with `reuse="never"` if the requester has
            no occasion.
        max_usd: A budget, held against the service's own price before a job is created. Where the service says
            none, it is refused.
    """
    requester = requester or Requester()
    account.offers.check(spec, service=account.service)
    check_budget(account, max_usd)
    if isinstance(account.carrier, Named):
        return (yield from submit_named(account, spec, requester, reuse=reuse, nonce=nonce, max_usd=max_usd))
    check_room(spec.metadata, keep_origin=requester.keep_origin)
    check_suffix(account, spec)
    intent = yield from identify(account, spec, requester, reuse=reuse, nonce=nonce)
    submission = _Submission(
        account, spec.to_wire(), intent, account.marking, afford=lambda: check_quote(account, spec, max_usd)
    )
    state = SubmitState.LOOK
    while state is not SubmitState.DONE:
        state = TRANSITIONS[state][(yield from submission.actions[state]())]
    return submission.survivor


def find(account: Account, intent: Intent) -> Flow[list[Job]]:
    """List all jobs with an intent's mark.

    The service is asked to filter by metadata, but some ignore that, so the jobs are filtered here as well.

    Raises:
        LookupFailed: The list can't be read to its end.
    """
    mark = None if isinstance(account.marking, Suffix) else {intent.label: intent.value}
    return (
        yield from find_jobs(
            account,
            lambda after: calls.jobs.listing(metadata=mark, after=after, limit=100),
            intent.suits,
            unfiltered=", and the service doesn't filter them by their marks",
        )
    )


@dataclass
class _Submission:
    """The data of one submission, and the action of each state.

    `body` has no marks: they are written into what is sent.
    """

    account: Account
    body: dict[str, Any]
    intent: Intent
    carrier: Carrier
    afford: Callable[[], Flow[None]]
    known: dict[str, Job] = field(default_factory=dict)
    past: set[str] = field(default_factory=set)
    creates: int = 0
    _accepted: Job | None = None
    _bare: bool = False
    _unclear: TunewayError | None = None
    _survivor: Job | None = None

    @property
    def actions(self) -> dict[SubmitState, Callable[[], Flow[SubmitResult]]]:
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
    def _mine(self) -> str | None:
        return self._accepted.id if self._accepted else None

    @property
    def current(self) -> list[Job]:
        """The jobs of this attempt, best first: all that hadn't failed or been cancelled before it began."""
        return sorted((job for job in self.known.values() if job.id not in self.past), key=self._rank)

    def look(self) -> Flow[SubmitResult]:
        yield from self._find()
        self.past = self._dead()
        yield from self._recognise()
        yield from self._let_end()
        self.past = self._dead()
        if not self.current:
            return SubmitResult.NOTHING
        return SubmitResult.READY if all(job.done for job in self.current) else SubmitResult.ALIVE

    def create(self) -> Flow[SubmitResult]:
        if self.creates == MAX_CREATES:
            raise self._uncertain()
        if self.creates == 0:
            yield from self.afford()
        self.creates += 1
        generation = len(self.past.union(self.account.memory.unmarked(self.intent.key)))
        call = calls.jobs.create(self._marked(), idempotency_key=f"{self.intent.value}-{generation}")
        origin_kept = not isinstance(self.carrier, Suffix) or "origin" in self.carrier.marks
        yield from notify(progress.CreatePlanned(self.intent.key, origin_kept))
        started = yield from now()
        try:
            job = self.intent.completed((yield from request(self.account, call)))
        except TunewayError as error:
            if error.processed is False:
                raise
            self._unclear = error
            self.account.memory.lose(self.intent.key, started)
        else:
            self._accepted = self.known[job.id] = job
            self._bare = not self.intent.made(job)
            if self._bare:
                self.account.memory.note_unmarked(self.intent.key, job.id, created=True)
            yield from notify(progress.JobCreated(job))
        return SubmitResult.SENT

    def settle(self) -> Flow[SubmitResult]:
        """List again after the settle window. A new job comes from a create, even if it has failed since."""
        mine = self._accepted
        yield from notify(progress.Settling(self.account.settle_window))
        yield from sleep(self.account.settle_window)
        try:
            shown = yield from self._find()
            yield from self._recognise()
        except LookupFailed as error:
            raise (error.about(mine.id) if mine else error) from error.__cause__
        self.account.memory.settled(self.intent.key)
        if mine and mine.id not in shown:
            yield from notify(progress.KeyNotKept(mine, self._learn(mine)))
        return SubmitResult.SOMETHING if self.current else SubmitResult.NOTHING

    def resolve(self) -> Flow[SubmitResult]:
        self._survivor, *rivals = self.current
        created = {self._mine, *self.account.memory.unmarked(self.intent.key, created=True)}
        for rival in rivals:
            ours = rival.id in created or self.intent.made(rival)
            if ours and not rival.done and not rival.ending:
                yield from self._cancel(rival)
                if self.current[0].id != self._survivor.id:
                    return SubmitResult.READY
        if self._survivor.id != self._mine:
            yield from notify(progress.JobAdopted(self._survivor))
        return SubmitResult.ONE

    def _find(self) -> Flow[set[str]]:
        """Read the list; gives the ids on it. A job stays known if a later list doesn't show it."""
        listed = yield from find(self.account, self.intent)
        found = {job.id: self.intent.completed(job) for job in listed}
        self.known |= found
        self.account.memory.keeps_marks |= bool(found)
        settled = {job.id for job in self.known.values() if job.done}
        besides = settled.union(found, {self._mine})
        unmarked = yield from known_unmarked(self.account, self.intent, besides=besides)
        self.known |= {job.id: job for job in unmarked}
        return set(found)

    def _recognise(self) -> Flow[None]:
        """Look for the job of a lost create among those without marks, unless a job is there that it can be."""
        if any(job.id != self._mine for job in self.current):
            return
        job = yield from recognised(self.account, self.intent, self.body, known=self.known)
        if job is None:
            return
        self.known[job.id] = job
        self.account.memory.note_unmarked(self.intent.key, job.id, created=False)
        yield from notify(progress.JobRecognised(job))

    def _marked(self) -> dict[str, Any]:
        """The body with the marks."""
        marked = dict(self.body)
        if isinstance(self.carrier, Suffix):
            marked["suffix"] = self.intent.suffix(self.carrier, self.body.get("suffix"))
        if not isinstance(self.carrier, Suffix) or self.account.offers.metadata:
            marked["metadata"] = self.intent.marks(self.body.get("metadata"))
        return marked

    def _learn(self, mine: Job) -> str:
        """Note what the service drops, if the reply to our create had no mark either; gives what to do."""
        memory = self.account.memory
        if not self._bare:
            return ""
        if isinstance(self.carrier, Suffix):
            memory.drops_suffix = True
            return NEITHER
        memory.drops_metadata = True
        if self.body.get("suffix") and suffix_shown(mine) is None:
            memory.drops_suffix = True
            return NEITHER
        return SET_SUFFIX if self.account.marking == self.carrier else SUFFIX_FROM_NOW_ON

    def _dead(self) -> set[str]:
        """The jobs that can't be adopted: those that have ended without a model, or are being cancelled."""
        return {job.id for job in self.known.values() if job.phase.dead or job.ending}

    def _let_end(self) -> Flow[None]:
        """If there is no job to adopt, wait until those of this intent that are being cancelled have ended."""
        if self.known.keys() - self._dead():
            return
        for job in [job for job in self.known.values() if job.ending and self.intent.made(job)]:
            if not (yield from settling(self.account, partial(self._read_whether_ended, job.id))):
                raise still_ending(job.id)

    def _read_whether_ended(self, job_id: str) -> Flow[bool]:
        try:
            job = self.known[job_id] = self.intent.completed(
                (yield from request(self.account, calls.jobs.retrieve(job_id)))
            )
        except NotFound:
            return self.known.pop(job_id, None) is not None  # the job was deleted
        except TunewayError as error:
            raise unreadable(f"whether {job_id} has ended, so no other job was created", error) from error
        return not job.ending

    def _rank(self, job: Job) -> tuple[int, bool, float, str]:
        """Sort succeeded jobs first, then those that are alive, then the others; among equals, the oldest first.

        A job that is being cancelled comes after those that aren't.

        A recognised job may be somebody else's, so that it can't be cancelled. So it comes before our own.
        """
        phase = 0 if job.phase is Phase.SUCCEEDED else 3 if job.phase.dead else 2 if job.ending else 1
        recognised_ids = self.account.memory.unmarked(self.intent.key, created=False)
        return (phase, job.id not in recognised_ids, *job.age_rank)

    def _cancel(self, rival: Job) -> Flow[None]:
        ended = yield from cancel_rival(self.account, rival.id, self.survivor.id)
        if ended is not None:
            self.known[rival.id] = ended

    def _uncertain(self) -> SubmitUncertain:
        return SubmitUncertain(
            f"a create was sent {self.creates} times, and no job was listed within {self.account.settle_window:g} s: "
            f"{self._unclear}",
            hint="Try again: the next attempt lists jobs first, and adopts one that appears late.",
        )
