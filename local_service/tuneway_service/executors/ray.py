"""Workers as jobs of a Ray cluster, through its job REST API; nothing of Ray is needed here.

Each attempt at a job is one submission, named after the job: `ftjob-…` the first, `ftjob-…-2` the second. A
cluster takes a name once, however often it is sent. All else passes through the job's folder, on storage that
the service and the cluster share, or by an object store.

What is guaranteed:

- Nothing that Ray *doesn't* say is taken for an end. A cluster that can't be reached, an error, a reply that
  is lost leave the job as it is; the service says so in the job's events and looks again.
- A job that Ray says has ended, without knowing how its process did, or that Ray has forgotten, is lost only
  when nobody is at its folder either: no lock is held, no process of this machine has the lease, and on
  another machine the lease hasn't been touched for `SILENCE` seconds.
- Should a worker come back after all (a machine that was cut off, a submission that was started late), it finds
  that the order names another attempt, at its start and before whatever it saves, and leaves. So two never
  train one job to its end, and what is there of an export or a result is never replaced by another's.
- An outcome in the folder is the worker's last word. It counts even while Ray is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tuneway_service.executors.base import how_it_ended, with_last_line
from tuneway_service.executors.ray_api import Away, RayApi, Refused, Trouble
from tuneway_service.executors.ray_attempt import RayAttempt
from tuneway_service.executors.ray_share import Mount, Relay
from tuneway_service.folder import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuneway_service.executors.base import Notice
    from tuneway_service.executors.ray_api import RayJob
    from tuneway_service.executors.ray_settings import RaySettings
    from tuneway_service.executors.ray_share import Share
    from tuneway_service.folder import JobFolder

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
AWAY_MOST = 15.0
# what passes by itself sooner than this is no news
PATIENCE = 10.0
# longer than shared storage may show a machine an old time stamp (NFS: 60 s)
SILENCE = 120.0
LOG_KEPT = 256 << 10
# Ray's own monitor of a job has to notice first that it ended: a record deleted before is written anew, as failed
DELETE_AFTER = 60.0


class RayExecutor:
    """Has jobs run by a Ray cluster.

    Args:
        settings: The cluster, and what each job takes of it.
        jobs_dir: Where the service has the job folders.
        clock: What time it is, in seconds.
        background: Look at the cluster in a thread; otherwise `round` has to be called.
    """

    detached = True
    pace = 0.5

    def __init__(
        self,
        settings: RaySettings,
        jobs_dir: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        self.settings = settings
        self._share: Share = (
            Relay(settings.jobs_url, clock) if settings.jobs_url else Mount(settings.jobs_dir or jobs_dir)
        )
        self._api = RayApi(settings.address, settings.headers)
        self._clock = clock
        self._watches: dict[str, RayAttempt] = {}
        self._words: dict[str, str] = {}
        self._leftovers: deque[tuple[str, float]] = deque()
        self._away_until = 0.0
        self._failures = 0
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True) if background else None

    # what the supervisor asks

    def launch(self, folder: JobFolder) -> None:
        """Have the ordered attempt submitted, as soon as the cluster takes it."""
        attempt = folder.attempt()
        assert attempt is not None
        self._watch(folder, attempt)

    def alive(self, folder: JobFolder) -> bool:
        """Whether anybody may be at the folder: everything but a certain end."""
        watch = self._watches.get(folder.path.name)
        if watch is None:
            attempt = folder.attempt()
            if attempt is None:
                return False
            watch = self._watch(folder, attempt)
        if not watch.ended and watch.due > 0 and watch.finished():
            self._hurry(watch)
        return not watch.ended

    def stop(self, folder: JobFolder, *, force: bool = False) -> None:
        """Ask by file, which leaves the worker all the time it needs; force by Ray, which doesn't."""
        folder.ask_to_stop()
        watch = self._watches.get(folder.path.name)
        if watch is not None and (watch.asked, watch.forced) != (True, force):
            watch.asked, watch.forced = True, force
            self._hurry(watch)

    def news(self, folder: JobFolder) -> Sequence[Notice]:
        """How the job fares on the cluster."""
        watch = self._watches.get(folder.path.name)
        if watch is None:
            return ()
        told = [watch.news.popleft() for _ in range(len(watch.news))]
        if watch.ended:
            del self._watches[folder.path.name]
            self._words[folder.path.name] = watch.words
        return told

    def last_words(self, folder: JobFolder) -> str:
        """What Ray says, and the end of what the worker printed."""
        return with_last_line(self._words.pop(folder.path.name, "its worker is gone"), folder)

    def close(self) -> None:
        """Look no more; what runs on the cluster goes on."""
        self._closing.set()
        self._woken.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout=PATIENCE)
        self._api.close()

    # the thread

    def _watch(self, folder: JobFolder, attempt: int) -> RayAttempt:
        watch = RayAttempt(folder, attempt, beat_at=self._clock())
        watch.taken = folder.read("ray") == {"submission_id": watch.id}
        self._words.pop(folder.path.name, None)
        self._watches[folder.path.name] = watch
        if self._thread is not None and not self._thread.is_alive() and not self._closing.is_set():
            self._thread.start()
        self._woken.set()
        return watch

    def _hurry(self, watch: RayAttempt) -> None:
        watch.due = 0.0
        self._woken.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._woken.clear()
            try:
                self.round()
            except Exception:
                log.exception("looking at the Ray cluster failed, and will be tried again")
            self._woken.wait(self._pause())

    def _pause(self) -> float:
        now = self._clock()
        if now < self._away_until:
            return min(LOOK_SECONDS, self._away_until - now)
        soonest = min((watch.due for watch in list(self._watches.values()) if not watch.ended), default=float("inf"))
        return min(LOOK_SECONDS, max(0.1, soonest - now))

    def round(self) -> None:
        """Look at every job whose turn it is, and go one step towards what is wanted of it."""
        now = self._clock()
        watches = [watch for watch in list(self._watches.values()) if not watch.ended]
        if now < self._away_until:
            self._take_leave(watches)
            return
        for watch in watches:
            if watch.due > now:
                continue
            watch.due = now + LOOK_SECONDS
            try:
                self._attend(watch)
            except Away as error:
                self._note_away(watches, error)
                return
            except (Trouble, OSError) as error:
                self._note_trouble(watch, error)
            else:
                self._failures = 0
                self._note_well(watch)
        self._clear_up()

    def _note_away(self, watches: Sequence[RayAttempt], error: Away) -> None:
        if not self._failures:
            log.warning("the Ray cluster doesn't answer", extra={"address": self.settings.address, "why": error})
        self._failures += 1
        self._away_until = self._clock() + min(AWAY_MOST, 2.0 ** min(self._failures, 10) / 2)
        for watch in watches:
            self._note_trouble(watch, error)
        self._take_leave(watches)

    def _note_trouble(self, watch: RayAttempt, error: Exception) -> None:
        now = self._clock()
        if watch.trouble_since is None:
            watch.trouble_since = now
        if now - watch.trouble_since >= PATIENCE and not watch.trouble_told:
            watch.trouble_told = True
            watch.tell(
                f"The Ray cluster at {self.settings.address} doesn't say how the job is ({error})."
                " The job is left as it is, and the service looks again",
                level="warn",
            )

    def _note_well(self, watch: RayAttempt) -> None:
        if watch.trouble_told:
            watch.tell("The Ray cluster answers again")
        watch.trouble_since, watch.trouble_told = None, False

    def _take_leave(self, watches: Sequence[RayAttempt]) -> None:
        """While Ray is away: what has said its last needs no more of it."""
        for watch in watches:
            with suppress(Trouble):
                self._share.fetch(watch.folder, watch.attempt)
            watch.ended = watch.finished()

    # one job

    def _attend(self, watch: RayAttempt) -> None:
        found = self._api.find(watch.id)
        if found is not None or watch.taken:
            self._share.fetch(watch.folder, watch.attempt, at_once=found is None or found.ended)
        if found is None:
            self._attend_unknown(watch)
            return
        if not watch.taken:
            self._note_taken(watch)
        if found.waiting:
            self._attend_waiting(watch, found)
        elif found.ended:
            self._attend_ended(watch, found)
        else:
            self._attend_running(watch, found)

    def _attend_unknown(self, watch: RayAttempt) -> None:
        if watch.finished():
            watch.ended = True
        elif watch.taken or watch.lease():
            watch.tell("The Ray cluster has forgotten the job", mark="forgotten", level="warn")
            if self._nobody_at(watch):
                self._lose(watch, "the Ray cluster has forgotten it")
        elif watch.asked:
            self._call_off(watch)
        else:
            self._submit(watch)

    def _submit(self, watch: RayAttempt) -> None:
        self._share.offer(watch.folder, watch.attempt)
        try:
            self._api.submit(self._submission(watch))
        except Refused as refusal:
            # among other things for having it already, when an earlier answer was lost: so look
            if self._api.find(watch.id) is None:
                self._lose(watch, f"the Ray cluster refuses it: {refusal}")
                return
        self._note_taken(watch)

    def _submission(self, watch: RayAttempt) -> dict[str, Any]:
        return {
            "submission_id": watch.id,
            "entrypoint": self._share.command(watch.folder, watch.attempt),
            "entrypoint_num_cpus": self.settings.cpus,
            "entrypoint_num_gpus": self.settings.gpus,
            "runtime_env": dict(self.settings.runtime_env),
            "metadata": {"tuneway_job": watch.folder.path.name, "tuneway_attempt": str(watch.attempt)},
        }

    def _note_taken(self, watch: RayAttempt) -> None:
        watch.folder.write("ray", {"submission_id": watch.id})
        watch.taken = True
        watch.tell(f"Submitted to the Ray cluster as {watch.id}", mark="submitted")

    def _attend_waiting(self, watch: RayAttempt, found: RayJob) -> None:
        now = self._clock()
        if watch.waiting_since is None:
            watch.waiting_since = now
        if now - watch.waiting_since >= PATIENCE:
            watch.tell(f"Waiting for the Ray cluster: {found.message}", mark="waiting")
        if watch.asked:
            # Ray can't drop what it hasn't started, but what it starts now finds nothing to do
            self._share.withdraw(watch.folder, watch.attempt)
            self._api.stop(watch.id)
            again = self._api.find(watch.id)
            if again is None or again.waiting:
                self._call_off(watch)

    def _attend_running(self, watch: RayAttempt, found: RayJob) -> None:
        watch.tell(f"Running on the Ray node {found.node}", mark="running")
        if watch.finished():
            self._bring_logs(watch)
            self._end(watch)
        elif watch.forced:
            self._api.stop(watch.id)
        elif watch.asked:
            self._share.ask_to_stop(watch.folder, watch.attempt)

    def _attend_ended(self, watch: RayAttempt, found: RayJob) -> None:
        self._bring_logs(watch)
        if watch.finished():
            self._end(watch)
        elif found.exit_code is not None:
            self._lose(watch, how_it_ended(found.exit_code))
        elif found.status == "STOPPED":
            self._lose(watch, "Ray stopped it before it could save")
        elif found.error_type == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT" and not watch.lease():
            watch.tell("The Ray cluster had no room for the job for too long; it is queued again", level="warn")
            self._call_off(watch)
        elif self._nobody_at(watch):
            first, *_ = found.message.splitlines() or [found.status]
            self._lose(watch, f"Ray says: {first[:500]}")

    def _nobody_at(self, watch: RayAttempt) -> bool:
        """Whether the folder itself shows that its worker is gone, or never came."""
        lease = watch.lease()
        if lease is None:
            return True
        if watch.folder.held():
            return False
        if lease.get("machine") == this_machine():
            return not watch.folder.is_running_here(lease)
        now, beat = self._clock(), watch.folder.beat()
        if beat != watch.beat:
            watch.beat, watch.beat_at = beat, now
        return now - watch.beat_at > SILENCE

    # how an attempt ends

    def _end(self, watch: RayAttempt) -> None:
        """All that it brought is here: the cluster may forget it."""
        self._leftovers.append((watch.id, self._clock() + DELETE_AFTER))
        self._share.drop(watch.folder, watch.attempt)
        watch.ended = True

    def _call_off(self, watch: RayAttempt) -> None:
        """It never began: it stays where it was, without a loss."""
        self._share.withdraw(watch.folder, watch.attempt)
        watch.folder.write("outcome", {"outcome": "stopped", "attempt": watch.attempt})
        self._share.drop(watch.folder, watch.attempt)
        watch.ended = True

    def _lose(self, watch: RayAttempt, words: str) -> None:
        self._share.withdraw(watch.folder, watch.attempt)
        self._share.drop(watch.folder, watch.attempt)
        watch.words = words
        watch.ended = True

    def _bring_logs(self, watch: RayAttempt) -> None:
        """Add what the worker printed to the folder's log, its end if it is long."""
        if watch.logs_brought:
            return
        watch.logs_brought = True
        try:
            printed = self._api.logs(watch.id).encode()[-LOG_KEPT:]
            with watch.folder.log.open("ab") as file:
                file.write(printed)
        except (Trouble, OSError) as error:
            # they are lost with the machine that had them: no reason to hold up the job
            log.warning("the log of a job stays with Ray", extra={"submission": watch.id, "why": error})

    def _clear_up(self) -> None:
        """Have the cluster forget what is done."""
        while self._leftovers and self._leftovers[0][1] <= self._clock():
            submission, _ = self._leftovers.popleft()
            try:
                self._api.delete(submission)
            except Trouble as error:
                log.info("Ray keeps its record of a job", extra={"submission": submission, "why": error})
