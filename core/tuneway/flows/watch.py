"""Many waits, one poll.

All open waits of an account lie on a board. Each round looks at those that are due: with one list call
for a hundred jobs where that is cheaper, else one by one. Whoever appears in a list is served, due or
not. Rounds keep a distance in proportion to what they cost, so that an account asks about once a second
however many wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tuneway import calls, progress
from tuneway.errors import ApiError, RequestTimeout, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow, breathe, now, sleep, tell
from tuneway.flows._paging import Pager
from tuneway.flows._request import once
from tuneway.flows._token import WaitToken
from tuneway.flows.wait import Wait, WaitState
from tuneway.models import Event, Job
from tuneway.progress import News

PAGE = 100
COST = 1.0
"""Seconds of rest for each request of a round, against a service that isn't on this machine."""
LONGEST_REST = 60.0
"""However much a round took (a thousand logs may end at once), who joins afterwards waits no longer."""
HASTE_COST = 2.5
"""Seconds for each request of a round, at least, when rounds come more often than its waits ask for."""
BREATH = 100
"""So many waits are shown their jobs in one go; then whoever shares the loop has a turn."""
BARREN_PAGES = 3
LOGS_A_ROUND = 10
"""Logs of jobs that go on, at most; those of jobs that have ended are read at once."""
LOG_PAGES = 50
DRAIN_TRIES = 3


class Board:
    """The open waits of one account, and what was learned about finding their jobs in the list."""

    def __init__(self) -> None:
        self._waits: dict[Wait, None] = {}  # a set that keeps its order
        self.depth: int = 1
        self.listable = True
        self.rest_until: float = 0.0

    @property
    def waits(self) -> list[Wait]:
        """Those that are watched now; other threads may add and drop meanwhile."""
        return list(self._waits)

    def add(self, wait: Wait) -> None:
        """Begin to watch."""
        self._waits[wait] = None
        self.depth = max(self.depth, -(-len(self._waits) // PAGE))

    def drop(self, wait: Wait) -> None:
        """Watch no longer; nothing happens when it isn't watched."""
        self._waits.pop(wait, None)

    def due(self, moment: float) -> list[Wait]:
        """When somebody's time has come: they, and those whose time has nearly come."""
        if not any(wait.due <= moment for wait in self.waits):
            return []
        return [wait for wait in self.waits if wait.ready <= moment]

    def pause(self, moment: float) -> float:
        """Seconds until the next round."""
        first = min((wait.due for wait in self.waits), default=moment)
        return max(first, self.rest_until) - moment


def watch(account: Account, board: Board, *, enough: Callable[[], bool] = bool) -> Flow[None]:
    """Watch until the board is empty, or it's enough. Waits may be added and dropped meanwhile."""
    while board.waits and not enough():
        moment = yield from now()
        if moment >= board.rest_until:
            spent = yield from _round(account, board, moment)
            moment = yield from now()
            board.rest_until = moment if account.local else moment + min(spent * COST, LONGEST_REST)
        if board.waits and not enough():
            yield from sleep(board.pause(moment), wakeable=True)


def look(
    account: Account, tokens: Sequence[WaitToken], *, until: float | None = None
) -> Flow[list[Job | TunewayError]]:
    """Look once at all of these jobs, without a wait, in as few requests as that takes.

    Gives for each, in their order, the job while it lives and when it has succeeded; else the error that a
    wait for it would raise. One that isn't a `JobError` says nothing of the job: it couldn't be seen. So it is
    with those whose turn hadn't come by `until`, where the service's list doesn't show them.
    """
    board = Board()
    waits = [Wait(account, token, _nobody) for token in tokens]
    for wait in waits:
        board.add(wait)
    seen, _ = yield from _look(account, board, waits, until=until)
    moment = yield from now()
    for wait in waits:
        wait.see(seen[wait.token.job_id], moment)
    return [_shown(wait) for wait in waits]


def _nobody(_news: News) -> None:
    """Nobody is told: who looks once is given all."""


def _shown(wait: Wait) -> Job | TunewayError:
    given = wait.failure() or wait.job or wait.error
    assert given is not None
    return given if isinstance(given, Job) else given.about(wait.token.job_id)


def _round(account: Account, board: Board, moment: float) -> Flow[int]:
    """Look at what is due, tell what is new, let go of what has ended; gives the requests it took."""
    due = board.due(moment)
    if not due:
        return 0
    seen, spent = yield from _look(account, board, [wait for wait in due if not wait.ended])
    moment = yield from now()
    sharers = _sharers(account, len(seen), spent)
    readers = [wait for wait in due if wait.ended]
    changes = []
    for number, wait in enumerate(board.waits, start=1):
        if number % BREATH == 0:
            yield from breathe()
        sight = seen.get(wait.token.job_id)
        if sight is not None and not wait.ended:
            changes.append((_show(wait, sight, moment, sharers=sharers), wait.listener))
            readers.append(wait)
    spent += yield from _read_logs(account, readers)
    for news, listener in changes:  # after the log's lines, which lead there
        if news is not None:
            yield from tell(news, listener)
    yield from _dismiss(board)
    return spent


def _sharers(account: Account, served: int, spent: int) -> float:
    """How many waits each request of a look served, as far as a look that takes so many may be had more often."""
    requests = max(1, spent)
    return max(1.0, min(served / requests, account.poll.maximum / (requests * HASTE_COST)))


def _look(
    account: Account, board: Board, due: list[Wait], *, until: float | None = None
) -> Flow[tuple[dict[str, Job | TunewayError], int]]:
    """Look at the jobs of these waits; gives what was seen, and the requests it took."""
    seen: dict[str, Job | TunewayError] = {}
    spent = 0
    listed = {wait.token.job_id for wait in due if wait.state is WaitState.WATCHING}
    if board.listable and len(listed) > board.depth:
        spent = yield from _list(account, board, listed, seen)
    for job_id in {wait.token.job_id: None for wait in due}:  # in order, each once
        if job_id in seen:
            continue
        if until is not None and (yield from now()) >= until:
            seen[job_id] = RequestTimeout("there was no time left to look at it", hint="The next look may be sooner.")
            continue
        spent += 1
        try:
            seen[job_id] = yield from once(account, calls.jobs.retrieve(job_id))
        except TunewayError as error:
            seen[job_id] = error
    return seen, spent


def _list(account: Account, board: Board, asked: set[str], seen: dict[str, Job | TunewayError]) -> Flow[int]:
    """Page through the jobs as long as that is cheaper than asking for those that are missing."""
    known = {wait.token.job_id: wait.job for wait in board.waits if wait.state is WaitState.WATCHING}
    pager = Pager(account, lambda after: calls.jobs.listing(after=after, limit=PAGE), persistent=False)
    missing, barren = set(asked), 0
    while missing and not pager.done and barren < BARREN_PAGES and pager.pages < max(board.depth, len(missing)):
        try:
            found = _wanted((yield from pager.next()), known)
        except TunewayError as error:
            if isinstance(error, ApiError) and not error.retryable:
                board.listable = False  # this service lists nothing for us: ask one by one from now on
            else:
                seen.update(dict.fromkeys(missing, error))
            return pager.pages + 1
        seen.update(found)
        missing -= found.keys()
        barren = 0 if found else barren + 1
    board.depth = max(1, pager.pages if not missing else len(asked))
    return pager.pages


def _wanted(page: Sequence[Job], known: Mapping[str, Job | None]) -> dict[str, Job]:
    """Those of a page that are waited for; a job that is as it was stays the object that it was.

    So what a page brought dies young, but for news. A thousand jobs that live until the next round would count as
    long-lived, and every few rounds Python would search all that the process holds for garbage, in one go.
    """
    wanted = {}
    for job in page:
        if job.id in known:
            before = known[job.id]
            wanted[job.id] = before if before is not None and before == job else job
    return wanted


def _show(wait: Wait, sight: Job | TunewayError, moment: float, *, sharers: float) -> News | None:
    """Show a wait its job; gives what is worth telling about it."""
    before = wait.job
    wait.see(sight, moment, sharers=sharers)
    if not wait.follows:
        return None
    if isinstance(sight, TunewayError):
        return progress.PollFailed(wait.token.job_id, sight, wait.failures, wait.account.poll.tolerance)
    if wait.job is None or _facts(wait.job) == _facts(before):
        return None
    wait.read_at = 0.0  # a change is worth reading about at once
    return progress.JobChanged(wait.job, before)


def _facts(job: Job | None) -> tuple[object, ...]:
    """What is worth telling when it changes."""
    return () if job is None else (job.status, job.estimated_finish, job.fine_tuned_model)


def _read_logs(account: Account, waits: list[Wait]) -> Flow[int]:
    """Read on in the logs of those that want it: the ended first, then whoever waited longest."""
    readers = [wait for wait in waits if wait.follows and wait.job is not None]
    ended = [wait for wait in readers if wait.ended]
    others = sorted((wait for wait in readers if not wait.ended), key=lambda wait: wait.read_at)
    spent = 0
    for wait in ended + others[: _turns(account, len(others))]:
        spent += yield from _read_log(account, wait)
    return spent


def _turns(account: Account, readers: int) -> int:
    """How many logs to read in a round: the more who share a poll, the fewer, as their waiting is to stay cheap.

    What goes on in a job may be told late; its end, and all that led there, is told at once.
    """
    if account.local:
        return LOGS_A_ROUND
    return max(1, LOGS_A_ROUND**2 // max(readers, LOGS_A_ROUND))


def _read_log(account: Account, wait: Wait) -> Flow[int]:
    """Tell what is new in a job's log: in order, each once."""
    pager = Pager(
        account,
        lambda after: calls.jobs.events(wait.token.job_id, after=after, limit=PAGE),
        persistent=False,
    )
    fresh: list[Event] = []
    try:
        while not pager.done and pager.pages < LOG_PAGES:
            page = yield from pager.next()
            ids = [event.id for event in page]
            if wait.token.last_event in ids:
                fresh += page[: ids.index(wait.token.last_event)]
                break
            fresh += page
        else:
            fresh = [event for event in fresh if _is_after_last_told(event, wait.token)]
    except TunewayError:
        wait.drain_failures += 1
        wait.due = wait.ready = max(wait.due, (yield from now()) + account.poll.minimum)
        wait.drained = wait.drain_failures >= DRAIN_TRIES  # a log isn't worth an end that nobody hears of
        return pager.pages + 1
    wait.drained, wait.drain_failures = wait.ended, 0
    wait.read_at = yield from now()
    for event in reversed(fresh):
        wait.token = wait.token.model_copy(update={"last_event": event.id, "last_event_at": event.created_at})
        yield from tell(progress.Logged(wait.token.job_id, event, wait.token.dump()), wait.listener)
    return pager.pages


def _is_after_last_told(event: Event, token: WaitToken) -> bool:
    """Whether to tell an event of a log that doesn't show the last one told: an old view, or a log cut short."""
    if token.last_event is None:
        return True
    return event.created_at is not None and token.last_event_at is not None and event.created_at > token.last_event_at


def _dismiss(board: Board) -> Flow[None]:
    """Let go of waits that have ended and heard all."""
    for wait in [wait for wait in board.waits if wait.ended]:
        if not wait.follows or wait.job is None or wait.drained:
            board.drop(wait)
            yield from tell(wait.news_of_end(), wait.listener)
