"""A job's folder: everything that the service and the worker exchange, as files.

    record.json       the job's row of the database; the service writes it, and only a recovery reads it
    job.json          the order: what to train, and which attempt may; the service writes it at each launch
    training.jsonl    (and validation.jsonl) links to the files, so that deleting a file doesn't harm the job
    base              the tuned model to start from, if any; its files are links too
    lock              held by the worker while it lives: two workers never run at once
    ranks.lock        held by each process of a gang, in addition
    ranks/RANK.json   how each process of a gang ended
    lease.json        the worker: attempt, machine, pid and the process's start; touched while the worker lives
    ray.json          the last submission that the Ray cluster accepted
    stop              asks the worker to save its state and stop
    prepared          the rows as tokens, made before the first step; every later attempt reads them
    journal.jsonl     the worker's reports, appended: messages, metrics, checkpoints
    progress.json     the current step, and the time per step
    state/STEP        everything that a resume needs; state.json names the valid one
    checkpoints/STEP  exported models
    model             the finished model
    results.csv       the metrics
    outcome.json      how the worker ended
    worker.log        the worker's output

Each file has one writer, which replaces it as a whole or appends to it. So a reader never sees half a file, except
for the last line of the journal.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


CHECKPOINTS_KEPT = 3
BEAT_SECONDS = 2.0
# on file systems without locks, whoever launches the workers has to make sure that there is only one
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


REWARD = "full_valid_mean_reward"


def kept_checkpoints(told: Mapping[int, Mapping[str, float]]) -> set[int]:
    """The checkpoints to keep, of these steps with their metrics: the newest ones, or those with the best reward."""
    best = sorted(told, key=lambda step: (told[step].get(REWARD, 0.0), step), reverse=True)
    return set(best[:CHECKPOINTS_KEPT])


class Taken(Exception):
    """Another worker has this folder, or another attempt has been ordered."""


class JobFolder:
    """The files of one job, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.training = path / "training.jsonl"
        self.validation = path / "validation.jsonl"
        self.base = path / "base"
        self.prepared = path / "prepared"
        self.journal = path / "journal.jsonl"
        self.states = path / "state"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.results = path / "results.csv"
        self.log = path / "worker.log"
        self._stop = path / "stop"
        self._lock = path / "lock"
        self._ranks_lock = path / "ranks.lock"

    def write(self, name: str, content: Any) -> None:
        """Write or replace a JSON file."""
        replace(self.path / f"{name}.json", json.dumps(content).encode())

    def read(self, name: str) -> Any:
        """The content of a JSON file; None if there is none or it can't be read."""
        try:
            return json.loads((self.path / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    # what the service asks for

    def attempt(self) -> int | None:
        """The attempt that the order names; None if there is no order."""
        try:
            return int(json.loads((self.path / "job.json").read_bytes())["attempt"])
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return None

    def ordered(self, attempt: int) -> bool:
        """Whether the order names this attempt."""
        return self.attempt() == attempt

    def withdraw(self) -> None:
        """Remove the order: a worker that starts later does nothing."""
        (self.path / "job.json").unlink(missing_ok=True)

    def finished(self, attempt: int) -> bool:
        """Whether this attempt has an outcome, or the job has a final one."""
        outcome = self.read("outcome")
        if not isinstance(outcome, dict):
            return False
        return outcome.get("outcome") in ("succeeded", "failed") or outcome.get("attempt") == attempt

    def forget_outcome(self) -> None:
        """Remove the outcome, so that another attempt is made."""
        (self.path / "outcome.json").unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """Ask the worker to save its state and stop, at the next step."""
        self._stop.touch()

    def clear_stop(self) -> None:
        """Remove that request, before a new worker starts."""
        self._stop.unlink(missing_ok=True)

    def stop_asked(self) -> bool:
        """Whether the worker is asked to stop."""
        return self._stop.exists()

    def tidy(self) -> None:
        """Remove what only a training needs, after the job's end."""
        for folder in (self.states, self.base, self.prepared):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (self.training, self.validation):
            path.unlink(missing_ok=True)

    # which worker has it

    @contextmanager
    def claim(self, attempt: int, patience: float = 1.0) -> Iterator[None]:
        """Hold this folder as its only worker; raises `Taken`. The kernel releases the lock when the process ends."""
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            give_up = time.monotonic() + patience
            while not try_lock(lock):
                # `held` takes the lock for a moment, so wait a little
                if time.monotonic() > give_up:
                    raise Taken(self.path.name)
                time.sleep(0.02)
            while not _is_free(self._ranks_lock):
                # processes of a gang whose first process was killed are about to end
                if time.monotonic() > give_up:
                    raise Taken(self.path.name)
                time.sleep(0.02)
            if not self.ordered(attempt):
                raise Taken(self.path.name)
            started = process_start(os.getpid())
            lease = {"attempt": attempt, "machine": this_machine(), "pid": os.getpid(), "started": started}
            self.write("lease", lease)
            with self._beating():
                yield
        finally:
            os.close(lock)

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Touch the lease regularly: other machines, which may not see the lock, see that the worker lives."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                with suppress(OSError):
                    os.utime(self.path / "lease.json")

        heart = threading.Thread(target=beat, name="heart", daemon=True)
        heart.start()
        try:
            yield
        finally:
            done.set()
            heart.join()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Hold this folder as one process of the gang that has claimed it, until this process ends."""
        lock = os.open(self._ranks_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(lock, fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

    def held(self) -> bool:
        """Whether a living worker holds the folder, or a process of its gang.

        Always False on file systems without locks.
        """
        return not (_is_free(self._lock) and _is_free(self._ranks_lock))

    def holder(self) -> int | None:
        """The pid of the living worker, if it runs on this machine and its pid hasn't been reused."""
        lease = self.read("lease")
        if not isinstance(lease, dict) or not self.held():
            return None
        return lease["pid"] if self.is_running_here(lease) else None

    @staticmethod
    def is_running_here(lease: Mapping[str, Any]) -> bool:
        """Whether the process that a lease names runs on this machine."""
        pid = lease.get("pid")
        here = lease.get("machine") == this_machine()
        return here and isinstance(pid, int) and process_start(pid) == lease.get("started")

    def beat(self) -> int | None:
        """A number that changes every few seconds while a worker lives, on any machine."""
        try:
            return (self.path / "lease.json").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    # states and models

    def put(self, place: Path, export: Callable[[Path], None]) -> None:
        """Have `export(folder)` write a model; it appears complete or not at all. An existing one is kept."""
        if place.exists():
            return
        unfinished = self.path / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        export(unfinished)
        unfinished.replace(place)

    def keep_state(self, step: int, save: Callable[[Path], None]) -> None:
        """Have `save(folder)` write the state of a step, then make it the valid one and remove the others."""
        folder = self.states / str(step)
        shutil.rmtree(folder, ignore_errors=True)
        self.states.mkdir(exist_ok=True)
        save(folder)
        self.write("state", {"step": step})
        for other in self.states.iterdir():
            if other.name != folder.name:
                shutil.rmtree(other, ignore_errors=True)

    def drop_unfinished(self) -> None:
        """Remove what an attempt that failed has half written; the last complete state stays."""
        shutil.rmtree(self.path / "unfinished", ignore_errors=True)
        valid = self.state()
        for folder in self.states.iterdir() if self.states.is_dir() else ():
            if valid is None or folder != valid[1]:
                shutil.rmtree(folder, ignore_errors=True)

    def state(self) -> tuple[int, Path] | None:
        """The step and the folder to resume from; None if there is no state."""
        pointer = self.read("state")
        if isinstance(pointer, dict) and isinstance(pointer.get("step"), int):
            folder = self.states / str(pointer["step"])
            if folder.exists():
                return pointer["step"], folder
        return None


def try_lock(lock: int) -> bool:
    """Take the lock of an open file, unless another process has it; file systems without locks give it to everyone."""
    try:
        _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(lock: int, kind: int) -> None:
    try:
        fcntl.flock(lock, kind)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _is_free(path: Path) -> bool:
    """Whether no process holds the lock on a file."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        return try_lock(lock)
    finally:
        os.close(lock)


@cache
def this_machine() -> str:
    """A name for this machine since its last start, or this container: within it, a pid names one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """When a process started, as the system writes it; tells it from a later process with the same pid."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _process_start_by_ps(pid) if not Path("/proc/self").exists() else None
    return stat.rpartition(")")[2].split()[19]


def _process_start_by_ps(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip() or None


def replace(path: Path, content: bytes) -> None:
    """Replace a file atomically: after a crash, the old or the new content is there, complete."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def link(source: str | Path, target: str | Path) -> None:
    """Make a hard link to a file, or a copy where links aren't possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
