"""Poll for many waits together.

All open waits of an account are on one board. Each round polls the jobs of those that are due: with one list request
for a hundred jobs where that is cheaper, else one by one. A list also serves the waits that aren't due. The pause
after a round is proportional to its requests, so an account sends about one request a second, however many waits
it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tuneway import calls, progress
from tuneway.errors import ApiError, RequestTimeout, TunewayError
from tuneway.flows._account import Account
from tuneway.flows._effects import Flow, let_others_run, notify, now, sleep
from tuneway.flows._paging import Pager
from tuneway.flows._request import once
from tuneway.flows._token import WaitToken
from tuneway.flows.wait import Wait, WaitState
from tuneway.models import Event, Job, Phase
from tuneway.progress import News

PAGE = 100
REST_PER_REQUEST = 1.0
"""Seconds of pause for each request of a round, for a service that isn't on this machine."""
LONGEST_REST = 60.0
"""The longest pause after a round in seconds; a round may have read the logs of a thousand jobs that ended."""
SPEEDUP_COST = 2.5
"""The least seconds for each request of a round, if rounds come more often than single waits would poll."""
WAITS_PER_TURN = 100
"""After so many waits have taken their results, other tasks of the event loop get a turn."""
MAX_EMPTY_PAGES = 3
"""After so many list pages in a row without a job that is waited for, the list isn't read on."""
LOGS_PER_ROUND = 10
"""The most logs of running jobs that a round reads; the logs of jobs that have ended are all read at once."""
LOG_PAGES = 50
ESTIMATE_MOVE = 60.0
"""Seconds. A smaller change of the estimated finish isn't reported."""
LOCAL_ESTIMATE_MOVE = 1.0
"""The same limit for a service on this machine, where a job may take less than a minute."""
ESTIMATE_MOVE_SHARE = 0.05
"""Share of the remaining time. A smaller change of the estimated finish isn't reported."""
DRAIN_TRIES = 3
"""How often reading the log of an ended job may fail before the wait ends without the rest of it."""


class Board:
    """The open waits of one account.

    `depth` is the number of list pages that are expected to show all their jobs. `listable` says whether the service
    lists jobs at all. `rest_until` is the earliest moment of the next round.
    """

    def __init__(self) -> None:
        self._waits: dict[Wait, None] = {}  # a set that keeps its order
        self.depth: int = 1
        self.listable = True
        self.rest_until: float = 0.0

    @property
    def waits(self) -> list[Wait]:
        """The waits that are open now. Other threads may add and drop waits at any moment."""
        return list(self._waits)

    def add(self, wait: Wait) -> None:
        """Add a wait."""
        self._waits[wait] = None
        self.depth = max(self.depth, -(-len(self._waits) // PAGE))

    def drop(self, wait: Wait) -> None:
        """Remove a wait, if it is there."""
        self._waits.pop(wait, None)

    def due(self, moment: float) -> list[Wait]:
        """The waits to poll now: those that are due, with those that are nearly due; none if none is due."""
        if not any(wait.due <= moment for wait in self.waits):
            return []
        return [wait for wait in self.waits if wait.ready <= moment]

    def pause(self, moment: float) -> float:
        """The seconds until the next round."""
        first = min((wait.due for wait in self.waits), default=moment)
        return max(first, self.rest_until) - moment


def watch(account: Account, board: Board, *, enough: Callable[[], bool] = bool) -> Flow[None]:
    """Poll until the board is empty or `enough` says so. Waits may be added and dropped at any moment."""
    while board.waits and not enough():
        moment = yield from now()
        if moment >= board.rest_until:
            spent = yield from _round(account, board, moment)
            moment = yield from now()
            board.rest_until = moment if account.local else moment + min(spent * REST_PER_REQUEST, LONGEST_REST)
        if board.waits and not enough():
            yield from sleep(board.pause(moment), wakeable=True)


def look(
    account: Account, tokens: Sequence[WaitToken], *, until: float | None = None
) -> Flow[list[Job | TunewayError]]:
    """Poll these jobs once, without waiting, in as few requests as possible.

    Gives one result for each, in their order: the job if it is alive or has succeeded, else the error that a wait for
    it would raise. An error that isn't a `JobError` means that the job couldn't be read. That is also the result for
    jobs that weren't read before the moment `until`.
    """
    board = Board()
    waits = [Wait(account, token, _ignore) for token in tokens]
    for wait in waits:
        board.add(wait)
    seen, _ = yield from _look(account, board, waits, until=until)
    moment = yield from now()
    for wait in waits:
        wait.see(seen[wait.token.job_id], moment)
    yield from _make_sure(account, board, [wait for wait in waits if wait.unclear_since is not None], until)
    return [_result_of(wait) for wait in waits]


def _make_sure(account: Account, board: Board, unclear: list[Wait], until: float | None) -> Flow[None]:
    """Read each of the jobs once more that have ended with an unknown status."""
    board.listable = False
    seen, _ = yield from _look(account, board, unclear, until=until)
    moment = yield from now()
    for wait in unclear:
        wait.unclear_since = 0.0  # another request decides, not the time between the two
        wait.see(seen[wait.token.job_id], moment)


def _ignore(_news: News) -> None:
    """Do nothing with news, since `look` returns the results."""


def _result_of(wait: Wait) -> Job | TunewayError:
    given = wait.failure() or wait.job or wait.error
    assert given is not None
    return given if isinstance(given, Job) else given.about(wait.token.job_id)


def _round(account: Account, board: Board, moment: float) -> Flow[int]:
    """Poll the waits that are due, pass on the news, drop waits that have ended; gives the number of requests."""
    due = board.due(moment)
    if not due:
        return 0
    seen, spent = yield from _look(account, board, [wait for wait in due if not wait.ended])
    moment = yield from now()
    waits_per_request = _waits_per_request(account, len(seen), spent)
    readers = [wait for wait in due if wait.ended]
    changes = []
    for number, wait in enumerate(board.waits, start=1):
        if number % WAITS_PER_TURN == 0:
            yield from let_others_run()
        result = seen.get(wait.token.job_id)
        if result is not None and not wait.ended:
            changes.append((_update(account, wait, result, moment, waits_per_request=waits_per_request), wait.listener))
            readers.append(wait)
    spent += yield from _read_logs(account, readers)
    for news, listener in changes:  # after the log's lines, which come before the change
        if news is not None:
            yield from notify(news, listener)
    yield from _drop_ended(board)
    return spent


def _waits_per_request(account: Account, served: int, spent: int) -> float:
    """How many waits each request served; less for a poll of many requests, so that it doesn't come too often."""
    requests = max(1, spent)
    return max(1.0, min(served / requests, account.poll.maximum / (requests * SPEEDUP_COST)))


def _look(
    account: Account, board: Board, due: list[Wait], *, until: float | None = None
) -> Flow[tuple[dict[str, Job | TunewayError], int]]:
    """Poll the jobs of these waits; gives the result for each job id, and the number of requests."""
    seen: dict[str, Job | TunewayError] = {}
    spent = 0
    listed = {wait.token.job_id for wait in due if wait.state is WaitState.WATCHING}
    if board.listable and len(listed) > board.depth:
        spent = yield from _list(account, board, listed, seen)
    for job_id in {wait.token.job_id: None for wait in due}:  # in order, each once
        if job_id in seen and not _unexplained(seen[job_id]):
            continue
        if until is not None and (yield from now()) >= until:
            seen[job_id] = RequestTimeout("there was no time left to read the job", hint="Try again.")
            continue
        spent += 1
        try:
            seen[job_id] = yield from once(account, calls.jobs.retrieve(job_id))
        except TunewayError as error:
            seen[job_id] = error
    return seen, spent


def _unexplained(result: Job | TunewayError) -> bool:
    """Whether a job has failed without a reason: some services give it only where the job is read alone."""
    if not isinstance(result, Job) or result.phase is not Phase.FAILED:
        return False
    return result.error is None or not result.error.message


def _list(account: Account, board: Board, asked: set[str], seen: dict[str, Job | TunewayError]) -> Flow[int]:
    """Read the list of jobs as long as that is cheaper than one request for each job; gives the number of pages."""
    known = {wait.token.job_id: wait.job for wait in board.waits if wait.state is WaitState.WATCHING}
    pager = Pager(account, lambda after: calls.jobs.listing(after=after, limit=PAGE), persistent=False)
    missing, empty = set(asked), 0
    while missing and not pager.done and empty < MAX_EMPTY_PAGES and pager.pages < max(board.depth, len(missing)):
        try:
            found = _watched_jobs((yield from pager.next()), known)
        except TunewayError as error:
            if isinstance(error, ApiError) and not error.retryable:
                board.listable = False  # the service refuses to list jobs: read each job from now on
            else:
                seen.update(dict.fromkeys(missing, error))
            return pager.pages + 1
        seen.update(found)
        missing -= found.keys()
        empty = 0 if found else empty + 1
    board.depth = max(1, pager.pages if not missing else len(asked))
    return pager.pages


def _watched_jobs(page: Sequence[Job], known: Mapping[str, Job | None]) -> dict[str, Job]:
    """Give the jobs of a page that are waited for. For an unchanged job, give the known object instead of the new one.

    So the objects of a page are freed soon, unless they are news. If a thousand jobs lived until the next round, Python
    would count them as long-lived, and every few rounds run a full garbage collection of the whole process.
    """
    watched = {}
    for job in page:
        if job.id in known:
            before = known[job.id]
            watched[job.id] = before if before is not None and before == job else job
    return watched


def _update(
    account: Account, wait: Wait, result: Job | TunewayError, moment: float, *, waits_per_request: float
) -> News | None:
    """Give a wait the result of its poll; gives the news about it, if there is any."""
    wait.see(result, moment, waits_per_request=waits_per_request)
    if not wait.follows:
        return None
    if isinstance(result, TunewayError):
        return progress.PollFailed(wait.token.job_id, result, wait.failures, wait.account.poll.tolerance)
    before = wait.reported
    if wait.job is None or not _has_changed(account, wait.job, before, moment):
        return None
    wait.reported, wait.read_at = wait.job, 0.0  # read its log at once, which may say why it changed
    return progress.JobChanged(wait.job, before)


def _has_changed(account: Account, job: Job, before: Job | None, moment: float) -> bool:
    """Whether a job differs from the one that was reported before in a field that waits report.

    A service that knows the seconds that are left gives another estimate at each poll. It is news if it has moved by
    more than a little, since it was reported.
    """
    if before is None or (job.status, job.fine_tuned_model) != (before.status, before.fine_tuned_model):
        return True
    if job.estimated_finish is None or before.estimated_finish is None:
        return job.estimated_finish != before.estimated_finish
    least = LOCAL_ESTIMATE_MOVE if account.local else ESTIMATE_MOVE
    tolerance = max(least, ESTIMATE_MOVE_SHARE * (job.estimated_finish - moment))
    return abs(job.estimated_finish - before.estimated_finish) > tolerance


def _read_logs(account: Account, waits: list[Wait]) -> Flow[int]:
    """Read the logs of waits that follow: first of those that have ended, then of those read longest ago."""
    readers = [wait for wait in waits if wait.follows and wait.job is not None]
    ended = [wait for wait in readers if wait.ended]
    others = sorted((wait for wait in readers if not wait.ended), key=lambda wait: wait.read_at)
    spent = 0
    for wait in ended + others[: _logs_to_read(account, len(others))]:
        spent += yield from _read_log(account, wait)
    return spent


def _logs_to_read(account: Account, readers: int) -> int:
    """How many logs of running jobs to read in a round. It is less the more waits there are, so that waiting is cheap.

    The log of a running job may be passed on late; that of a job that has ended is passed on at once.
    """
    if account.local:
        return LOGS_PER_ROUND
    return max(1, LOGS_PER_ROUND**2 // max(readers, LOGS_PER_ROUND))


def _read_log(account: Account, wait: Wait) -> Flow[int]:
    """Pass on the new lines of a job's log, in order, each once; gives the number of requests."""
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
        wait.drained = wait.drain_failures >= DRAIN_TRIES  # an unreadable log must not hold back the news of the end
        return pager.pages + 1
    wait.drained, wait.drain_failures = wait.ended, 0
    wait.read_at = yield from now()
    for event in reversed(fresh):
        wait.token = wait.token.model_copy(update={"last_event": event.id, "last_event_at": event.created_at})
        yield from notify(progress.Logged(wait.token.job_id, event, wait.token.dump()), wait.listener)
    return pager.pages


def _is_after_last_told(event: Event, token: WaitToken) -> bool:
    """Whether an event is new, in a log that doesn't show the last one passed on: it is outdated, or was cut."""
    if token.last_event is None:
        return True
    return event.created_at is not None and token.last_event_at is not None and event.created_at > token.last_event_at


def _drop_ended(board: Board) -> Flow[None]:
    """Drop the waits that have ended and whose log was read; pass on the news of their end."""
    for wait in [wait for wait in board.waits if wait.ended]:
        if not wait.follows or wait.job is None or wait.drained:
            board.drop(wait)
            yield from notify(wait.news_of_end(), wait.listener)
