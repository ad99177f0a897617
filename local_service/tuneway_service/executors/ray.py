"""Workers as jobs of a Ray cluster, through its job REST API; Ray isn't installed here.

Each attempt at a job is one submission, named after the job: first `ftjob-…`, then `ftjob-…-2`. A cluster accepts a
name once, however often it is sent. Everything else passes through the job's folder, which is on storage that the
service and the cluster share, or is copied through an object store.

Guarantees:

- Only an answer of Ray ends a job. An unreachable cluster, an error or a lost reply leaves the job as it is; the
  service says so in the job's events and asks again.
- Ray may say that a job has ended without knowing how its process ended, or may have forgotten the job. Then the job
  is lost only if no worker uses its folder: no lock is held, no process of this machine has the lease, and if the
  lease is another machine's, nobody has touched it for `SILENCE` seconds.
- A worker may come back later: its machine was disconnected, or its submission was started late. It checks the order
  at its start and before it saves anything, sees that the order names another attempt, and stops. So two workers
  never train one job to its end, and none replaces the export or the result of another.
- An outcome in the folder is final. It counts even while Ray can't be reached.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tuneway_service import gang
from tuneway_service.executors.base import exit_text, with_last_line
from tuneway_service.executors.ray_api import NoAnswer, RayApi, Refused, Unreachable
from tuneway_service.executors.ray_attempt import RayAttempt
from tuneway_service.executors.ray_share import Mount, Relay
from tuneway_service.folder import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuneway_service.executors.base import Notice
    from tuneway_service.executors.ray_api import RayJob
    from tuneway_service.executors.ray_settings import RaySettings, Reservation
    from tuneway_service.executors.ray_share import Share
    from tuneway_service.folder import JobFolder

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LONGEST_PAUSE = 15.0
# shorter disturbances and waits aren't reported
PATIENCE = 10.0
# longer than shared storage may show an old time stamp (NFS: 60 s)
SILENCE = 120.0
LOG_BYTES = 256 << 10
# Ray must notice the job's end before its record is deleted: otherwise Ray writes the record again, as failed
DELETE_AFTER = 60.0


class RayExecutor:
    """Runs workers on a Ray cluster.

    Args:
        settings: The cluster, and what each job reserves there.
        jobs_dir: The service's directory of job folders.
        clock: The current time in seconds.
        background: Ask the cluster in a thread; otherwise the caller has to call `round`.
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
        self._attempts: dict[str, RayAttempt] = {}
        self._reasons: dict[str, str] = {}
        self._to_delete: deque[tuple[str, float]] = deque()
        self._unreachable_until = 0.0
        self._failures = 0
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True) if background else None

    # what the supervisor asks

    def launch(self, folder: JobFolder) -> None:
        """Submit the ordered attempt, as soon as the cluster accepts it."""
        number = folder.attempt()
        assert number is not None
        self._follow(folder, number)

    def alive(self, folder: JobFolder) -> bool:
        """Whether a worker may use the folder: True until its end is certain."""
        attempt = self._attempts.get(folder.path.name)
        if attempt is None:
            number = folder.attempt()
            if number is None:
                return False
            attempt = self._follow(folder, number)
        if not attempt.ended and attempt.due > 0 and attempt.finished():
            self._look_now(attempt)
        return not attempt.ended

    def stop(self, folder: JobFolder, *, force: bool = False) -> None:
        """Ask by a file, which gives the worker the time that it needs; force through Ray, which kills it."""
        folder.ask_to_stop()
        attempt = self._attempts.get(folder.path.name)
        if attempt is not None and (attempt.stop_asked, attempt.stop_forced) != (True, force):
            attempt.stop_asked, attempt.stop_forced = True, force
            self._look_now(attempt)

    def notices(self, folder: JobFolder) -> Sequence[Notice]:
        """What is new about the job on the cluster."""
        attempt = self._attempts.get(folder.path.name)
        if attempt is None:
            return ()
        notices = [attempt.notices.popleft() for _ in range(len(attempt.notices))]
        if attempt.ended:
            del self._attempts[folder.path.name]
            self._reasons[folder.path.name] = attempt.reason
        return notices

    def exit_reason(self, folder: JobFolder) -> str:
        """The reason that Ray gives, and the worker's last output."""
        return with_last_line(self._reasons.pop(folder.path.name, "its worker is gone"), folder)

    def close(self) -> None:
        """Stop asking the cluster; its jobs go on."""
        self._closing.set()
        self._woken.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout=PATIENCE)
        self._api.close()

    # the thread

    def _follow(self, folder: JobFolder, number: int) -> RayAttempt:
        attempt = RayAttempt(folder, number, beat_at=self._clock())
        attempt.accepted = folder.read("ray") == {"submission_id": attempt.id}
        self._reasons.pop(folder.path.name, None)
        self._attempts[folder.path.name] = attempt
        if self._thread is not None and not self._thread.is_alive() and not self._closing.is_set():
            self._thread.start()
        self._woken.set()
        return attempt

    def _look_now(self, attempt: RayAttempt) -> None:
        attempt.due = 0.0
        self._woken.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._woken.clear()
            try:
                self.round()
            except Exception:
                log.exception("asking the Ray cluster failed, and will be tried again")
            self._woken.wait(self._pause())

    def _pause(self) -> float:
        now = self._clock()
        if now < self._unreachable_until:
            return min(LOOK_SECONDS, self._unreachable_until - now)
        due = [attempt.due for attempt in list(self._attempts.values()) if not attempt.ended]
        return min(LOOK_SECONDS, max(0.1, min(due, default=float("inf")) - now))

    def round(self) -> None:
        """Ask about every attempt that is due, and take it one step further."""
        now = self._clock()
        attempts = [attempt for attempt in list(self._attempts.values()) if not attempt.ended]
        if now < self._unreachable_until:
            self._end_finished(attempts)
            return
        for attempt in attempts:
            if attempt.due > now:
                continue
            attempt.due = now + LOOK_SECONDS
            try:
                self._advance(attempt)
            except Unreachable as error:
                self._note_unreachable(attempts, error)
                return
            except (NoAnswer, OSError) as error:
                self._note_trouble(attempt, error)
            else:
                self._failures = 0
                self._note_reachable(attempt)
        self._delete_records()

    def _note_unreachable(self, attempts: Sequence[RayAttempt], error: Unreachable) -> None:
        if not self._failures:
            log.warning("the Ray cluster doesn't answer", extra={"address": self.settings.address, "why": error})
        self._failures += 1
        self._unreachable_until = self._clock() + min(LONGEST_PAUSE, 2.0 ** min(self._failures, 10) / 2)
        for attempt in attempts:
            self._note_trouble(attempt, error)
        self._end_finished(attempts)

    def _note_trouble(self, attempt: RayAttempt, error: Exception) -> None:
        now = self._clock()
        if attempt.trouble_since is None:
            attempt.trouble_since = now
        if now - attempt.trouble_since >= PATIENCE and not attempt.trouble_notified:
            attempt.trouble_notified = True
            attempt.notify(
                f"The Ray cluster at {self.settings.address} gives no status of the job ({error})."
                " The service leaves the job as it is, and asks again",
                level="warn",
            )

    def _note_reachable(self, attempt: RayAttempt) -> None:
        if attempt.trouble_notified:
            attempt.notify("The Ray cluster answers again")
        attempt.trouble_since, attempt.trouble_notified = None, False

    def _end_finished(self, attempts: Sequence[RayAttempt]) -> None:
        """While Ray can't be reached: end the attempts that have an outcome, which don't need Ray any more."""
        for attempt in attempts:
            with suppress(NoAnswer):
                self._share.fetch(attempt.folder, attempt.number)
            attempt.ended = attempt.finished()

    # one job

    def _advance(self, attempt: RayAttempt) -> None:
        found = self._api.find(attempt.id)
        if found is not None or attempt.accepted:
            self._share.fetch(attempt.folder, attempt.number, at_once=found is None or found.ended)
        if found is None:
            self._handle_unknown(attempt)
            return
        if not attempt.accepted:
            self._note_accepted(attempt)
        if found.waiting:
            self._handle_waiting(attempt, found)
        elif found.ended:
            self._handle_ended(attempt, found)
        else:
            self._handle_running(attempt, found)

    def _handle_unknown(self, attempt: RayAttempt) -> None:
        if attempt.finished():
            attempt.ended = True
        elif attempt.accepted or attempt.lease():
            attempt.notify("The Ray cluster has forgotten the job", mark="forgotten", level="warn")
            if self._worker_is_gone(attempt):
                self._give_up(attempt, "the Ray cluster has forgotten it")
        elif attempt.stop_asked:
            self._call_off(attempt)
        else:
            self._submit(attempt)

    def _submit(self, attempt: RayAttempt) -> None:
        self._share.offer(attempt.folder, attempt.number)
        try:
            self._api.submit(self._submission(attempt))
        except Refused as refusal:
            # it also refuses a name that it has already, after a lost reply: so ask whether it has it
            if self._api.find(attempt.id) is None:
                self._give_up(attempt, f"the Ray cluster refuses it: {refusal}")
                return
        self._note_accepted(attempt)

    def _plan(self, attempt: RayAttempt) -> Reservation:
        return self.settings.plan(gang.size(attempt.folder.read("job") or {}))

    def _submission(self, attempt: RayAttempt) -> dict[str, Any]:
        plan = self._plan(attempt)
        alone = plan.machines == 1
        return {
            "submission_id": attempt.id,
            "entrypoint": self._share.command(attempt.folder, attempt.number, plan),
            # a gang on several machines reserves them itself
            "entrypoint_num_cpus": plan.cpus if alone else 0,
            "entrypoint_num_gpus": plan.gpus if alone else 0,
            "runtime_env": dict(self.settings.runtime_env),
            "metadata": {"tuneway_job": attempt.folder.path.name, "tuneway_attempt": str(attempt.number)},
        }

    def _note_accepted(self, attempt: RayAttempt) -> None:
        attempt.folder.write("ray", {"submission_id": attempt.id})
        attempt.accepted = True
        attempt.notify(f"Submitted to the Ray cluster as {attempt.id}", mark="submitted")

    def _handle_waiting(self, attempt: RayAttempt, found: RayJob) -> None:
        now = self._clock()
        if attempt.waiting_since is None:
            attempt.waiting_since = now
        if now - attempt.waiting_since >= PATIENCE:
            attempt.notify(f"Waiting for the Ray cluster: {found.message}", mark="waiting")
        if attempt.stop_asked:
            # Ray can't cancel a job that it hasn't started; if it starts the job now, the worker finds no order
            self._share.withdraw(attempt.folder, attempt.number)
            self._api.stop(attempt.id)
            again = self._api.find(attempt.id)
            if again is None or again.waiting:
                self._call_off(attempt)

    def _handle_running(self, attempt: RayAttempt, found: RayJob) -> None:
        attempt.notify(f"Running on the Ray node {found.node}", mark="running")
        if attempt.finished():
            self._fetch_log(attempt)
            self._end(attempt)
        elif attempt.stop_forced:
            self._api.stop(attempt.id)
        elif attempt.stop_asked:
            self._share.ask_to_stop(attempt.folder, attempt.number)

    def _handle_ended(self, attempt: RayAttempt, found: RayJob) -> None:
        self._fetch_log(attempt)
        if attempt.finished():
            self._end(attempt)
        elif found.exit_code is not None and self._has_ended_with(found.exit_code, attempt):
            self._give_up(attempt, exit_text(found.exit_code))
        elif found.status == "STOPPED":
            self._give_up(attempt, "Ray stopped it before it had saved its state")
        elif found.error_type == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT" and not attempt.lease():
            attempt.notify("The Ray cluster had no resources for the job in time; it is queued again", level="warn")
            self._call_off(attempt)
        elif self._worker_is_gone(attempt):
            first, *_ = found.message.splitlines() or [found.status]
            self._give_up(attempt, f"Ray says: {first[:500]}")

    def _has_ended_with(self, code: int, attempt: RayAttempt) -> bool:
        """Whether the worker has ended when the entrypoint has.

        On several machines the entrypoint isn't the worker: when it is killed, Ray ends the others a moment later.
        """
        return code >= 0 or self._plan(attempt).machines == 1 or self._worker_is_gone(attempt)

    def _worker_is_gone(self, attempt: RayAttempt) -> bool:
        """Whether the folder shows that its worker has ended, or never started."""
        lease = attempt.lease()
        if lease is None:
            return True
        if attempt.folder.held():
            return False
        if lease.get("machine") == this_machine():
            return not attempt.folder.is_running_here(lease)
        now, beat = self._clock(), attempt.folder.beat()
        if beat != attempt.beat:
            attempt.beat, attempt.beat_at = beat, now
        return now - attempt.beat_at > SILENCE

    # how an attempt ends

    def _end(self, attempt: RayAttempt) -> None:
        """End an attempt that has an outcome; the cluster may delete its record."""
        self._to_delete.append((attempt.id, self._clock() + DELETE_AFTER))
        self._share.drop(attempt.folder, attempt.number)
        attempt.ended = True

    def _call_off(self, attempt: RayAttempt) -> None:
        """End an attempt that never started; it doesn't count as a loss."""
        self._share.withdraw(attempt.folder, attempt.number)
        attempt.folder.write("outcome", {"outcome": "stopped", "attempt": attempt.number})
        self._share.drop(attempt.folder, attempt.number)
        attempt.ended = True

    def _give_up(self, attempt: RayAttempt, reason: str) -> None:
        """End an attempt that has no outcome; the supervisor starts another."""
        self._share.withdraw(attempt.folder, attempt.number)
        self._share.drop(attempt.folder, attempt.number)
        attempt.reason = reason
        attempt.ended = True

    def _fetch_log(self, attempt: RayAttempt) -> None:
        """Append the worker's output to the folder's log; of a long output, the end."""
        if attempt.log_fetched:
            return
        attempt.log_fetched = True
        try:
            printed = self._api.logs(attempt.id).encode()[-LOG_BYTES:]
            with attempt.folder.log.open("ab") as file:
                file.write(printed)
        except (NoAnswer, OSError) as error:
            # a log may be lost with its machine; the job goes on without it
            log.warning("the log of a job can't be fetched from Ray", extra={"submission": attempt.id, "why": error})

    def _delete_records(self) -> None:
        """Delete the cluster's records of attempts that have ended."""
        while self._to_delete and self._to_delete[0][1] <= self._clock():
            submission, _ = self._to_delete.popleft()
            try:
                self._api.delete(submission)
            except NoAnswer as error:
                log.info("Ray didn't delete its record of a job", extra={"submission": submission, "why": error})
