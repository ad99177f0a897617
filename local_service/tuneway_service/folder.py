"""A job's folder: all that passes between the service and the worker, as files.

    job.json          the order: what to train, and the attempt that may; written by the service at each launch
    training.jsonl    (and validation.jsonl) links to the files, so that deleting a file harms no job
    base              likewise the tuned model that is to be tuned further
    lock              held by the worker as long as it lives: two never run at once
    lease.json        who the worker is: attempt, machine, pid and when that process started; touched while it lives
    ray.json          the last submission that a Ray cluster is known to have taken
    stop              asks the worker to save and leave
    journal.jsonl     what the worker tells, appended: messages, metrics, checkpoints
    progress.json     where it is and how fast
    state/STEP        everything to go on from; state.json names the good one
    checkpoints/STEP  exported models
    model             the finished model
    results.csv       the metrics
    outcome.json      how the worker ended
    worker.log        what it printed

Every file is replaced whole or appended to by one writer, so a reader never sees half of one, save for the
journal's last line.
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
# file systems that know no locks: there, whoever launches workers has to know that there is only one
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


REWARD = "full_valid_mean_reward"


def kept_checkpoints(told: Mapping[int, Mapping[str, float]]) -> set[int]:
    """Which checkpoints stay, of those told of by step, with their metrics: the newest few, or the best by reward."""
    best = sorted(told, key=lambda step: (told[step].get(REWARD, 0.0), step), reverse=True)
    return set(best[:CHECKPOINTS_KEPT])


class Taken(Exception):
    """Another worker holds this folder, or another attempt than this one is wanted by now."""


class JobFolder:
    """The files of one job, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.training = path / "training.jsonl"
        self.validation = path / "validation.jsonl"
        self.base = path / "base"
        self.journal = path / "journal.jsonl"
        self.states = path / "state"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.results = path / "results.csv"
        self.log = path / "worker.log"
        self._stop = path / "stop"

    def write(self, name: str, content: Any) -> None:
        """Replace a JSON file, whole."""
        replace(self.path / f"{name}.json", json.dumps(content).encode())

    def read(self, name: str) -> Any:
        """A JSON file's content; None when there is none or it can't be read."""
        try:
            return json.loads((self.path / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None

    # what the service asks

    def attempt(self) -> int | None:
        """The attempt that the order names; None when there is no order."""
        try:
            return int(json.loads((self.path / "job.json").read_bytes())["attempt"])
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return None

    def ordered(self, attempt: int) -> bool:
        """Whether it is this attempt that is wanted, not a later one or none."""
        return self.attempt() == attempt

    def withdraw(self) -> None:
        """Take the order back: a worker that starts after this does nothing."""
        (self.path / "job.json").unlink(missing_ok=True)

    def finished(self, attempt: int) -> bool:
        """Whether this attempt's worker has written its last, or there is nothing left to do for it."""
        outcome = self.read("outcome")
        if not isinstance(outcome, dict):
            return False
        return outcome.get("outcome") in ("succeeded", "failed") or outcome.get("attempt") == attempt

    def ask_to_stop(self) -> None:
        """Ask the worker to save and leave at the next step."""
        self._stop.touch()

    def clear_stop(self) -> None:
        """Take that back, before a new worker starts."""
        self._stop.unlink(missing_ok=True)

    def stop_asked(self) -> bool:
        """Whether the worker should leave."""
        return self._stop.exists()

    def tidy(self) -> None:
        """Let go of what only a training needs: the job has ended."""
        for folder in (self.states, self.base):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (self.training, self.validation):
            path.unlink(missing_ok=True)

    # who holds it

    @contextmanager
    def claim(self, attempt: int, patience: float = 1.0) -> Iterator[None]:
        """Hold this folder as its one worker; raises `Taken`. The kernel lets go of it when the process dies."""
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            give_up = time.monotonic() + patience
            while not _try_lock(lock):
                # somebody may only be looking whether it is held
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
        """Show other machines, where locks may not reach, that somebody is at work here."""
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

    def held(self) -> bool:
        """Whether a living worker has it; where there are no locks, nobody seems to."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(lock)
        finally:
            os.close(lock)

    def holder(self) -> int | None:
        """The pid of the living worker, if it is a process of this machine and that pid hasn't become another's."""
        lease = self.read("lease")
        if not isinstance(lease, dict) or not self.held():
            return None
        return lease["pid"] if self.is_running_here(lease) else None

    @staticmethod
    def is_running_here(lease: Mapping[str, Any]) -> bool:
        """Whether the process that a lease names lives, on this machine."""
        pid = lease.get("pid")
        here = lease.get("machine") == this_machine()
        return here and isinstance(pid, int) and process_start(pid) == lease.get("started")

    def beat(self) -> int | None:
        """A number that changes every few seconds as long as a worker is at work, on whatever machine."""
        try:
            return (self.path / "lease.json").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    # where to go on

    def put(self, place: Path, export: Callable[[Path], None]) -> None:
        """Let `export(folder)` write a model, which is then there whole or not at all; one that is there stays."""
        if place.exists():
            return
        unfinished = self.path / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        export(unfinished)
        unfinished.replace(place)

    def keep_state(self, step: int, save: Callable[[Path], None]) -> None:
        """Let `save(folder)` write the state of that step, then point at it and drop the one before."""
        folder = self.states / str(step)
        shutil.rmtree(folder, ignore_errors=True)
        self.states.mkdir(exist_ok=True)
        save(folder)
        self.write("state", {"step": step})
        for other in self.states.iterdir():
            if other.name != folder.name:
                shutil.rmtree(other, ignore_errors=True)

    def state(self) -> tuple[int, Path] | None:
        """The step and the folder to go on from."""
        pointer = self.read("state")
        if isinstance(pointer, dict) and isinstance(pointer.get("step"), int):
            folder = self.states / str(pointer["step"])
            if folder.exists():
                return pointer["step"], folder
        return None


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


@cache
def this_machine() -> str:
    """A name for where pids have the meaning that they have here: the machine since it was started, or a container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """When a process started, in the system's own words; tells it from a later one with the same pid."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _process_start_by_ps(pid) if not Path("/proc/self").exists() else None
    return stat.rpartition(")")[2].split()[19]


def _process_start_by_ps(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip() or None


def replace(path: Path, content: bytes) -> None:
    """Write a file in one go: after a crash there is the old one or the new one."""
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
    """A second name for a file, or a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
