"""How job folders reach the cluster's machines: on shared storage, or through an object store."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from tuneway_service import gang
from tuneway_service.executors.ray_api import NoAnswer
from tuneway_service.relay import CARRY_SECONDS, Store, from_service, from_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuneway_service.executors.ray_settings import Reservation
    from tuneway_service.folder import JobFolder


class Share(Protocol):
    """Exchanges files between a job's folder here and the worker of one attempt. Methods may raise `NoAnswer`."""

    def command(self, folder: JobFolder, attempt: int, plan: Reservation | None = None) -> str:
        """The shell line that the cluster runs."""
        ...

    def offer(self, folder: JobFolder, attempt: int) -> None:
        """Send what the worker needs."""
        ...

    def fetch(self, folder: JobFolder, attempt: int, *, at_once: bool = False) -> None:
        """Fetch what the worker has written."""
        ...

    def ask_to_stop(self, folder: JobFolder, attempt: int) -> None:
        """Pass on that the worker is asked to stop."""
        ...

    def withdraw(self, folder: JobFolder, attempt: int) -> None:
        """Remove the order; the worker saves nothing more."""
        ...

    def drop(self, folder: JobFolder, attempt: int) -> None:
        """Remove what the attempt left; it has ended."""
        ...


def shell_line(module: str, place: str, attempt: int) -> str:
    """The line that the cluster's shell runs to start a worker."""
    # The cluster's machines may have an older Tuneway, in which the package `tuneway_service` was `tuneway.service`.
    # Both read the same job folders, so the shell takes the one that is installed. `exec` puts the worker in the
    # place of the shell: Ray's signals reach the worker, and its exit status is the worker's.
    words = f"{shlex.quote(place)} {attempt}"
    return (
        "if python -c 'import tuneway_service' 2>/dev/null; "
        f"then exec python -m tuneway_service.{module} {words}; "
        f"else exec python -m tuneway.service.{module} {words}; fi"
    )


class Mount:
    """Shared storage: the worker uses the folder itself.

    Args:
        jobs_dir: The path of the job folders on the cluster's machines.
    """

    def __init__(self, jobs_dir: Path) -> None:
        self.jobs_dir = jobs_dir

    def command(self, folder: JobFolder, attempt: int, plan: Reservation | None = None) -> str:
        """Start the worker on the folder, or the gang."""
        place = str(self.jobs_dir / folder.path.name)
        if plan and plan.machines > 1:
            words = [place, str(attempt), json.dumps(asdict(plan))]
            return f"exec python -m tuneway_service.executors.ray_gang {shlex.join(words)}"
        module = "worker" if gang.size(folder.read("job") or {}) == 1 else "gang"
        return shell_line(module, place, attempt)

    def offer(self, folder: JobFolder, attempt: int) -> None:
        """Nothing to send."""

    def fetch(self, folder: JobFolder, attempt: int, *, at_once: bool = False) -> None:
        """Nothing to fetch."""

    def ask_to_stop(self, folder: JobFolder, attempt: int) -> None:
        """Nothing to pass on: the worker reads the folder."""

    def withdraw(self, folder: JobFolder, attempt: int) -> None:  # noqa: ARG002 - a folder has only one order
        """Remove the order."""
        folder.withdraw()

    def drop(self, folder: JobFolder, attempt: int) -> None:
        """Nothing to remove."""


class Relay:
    """An object store with a copy of the folder for each attempt; `tuneway_service.relay` is the other side.

    Args:
        url: The place in the store.
        clock: The current time in seconds.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url.rstrip("/")
        self._clock = clock
        self._stores: dict[str, Store] = {}
        self._fetched_at: dict[str, float] = {}
        Store(self.url)  # raises now if the URL can't work

    def _place(self, folder: JobFolder, attempt: int) -> str:
        return f"{self.url}/{folder.path.name}/{attempt}"

    @contextmanager
    def _store(self, folder: JobFolder, attempt: int) -> Iterator[Store]:
        place = self._place(folder, attempt)
        try:
            if place not in self._stores:
                self._stores[place] = Store(place)
            yield self._stores[place]
        except Exception as error:
            # each store raises its own errors
            raise NoAnswer(f"the job storage at {self.url}: {type(error).__name__}: {error}") from error

    def command(self, folder: JobFolder, attempt: int, plan: Reservation | None = None) -> str:  # noqa: ARG002 - one machine
        """Start the worker, and the thread that copies its files."""
        return shell_line("relay", self._place(folder, attempt), attempt)

    def offer(self, folder: JobFolder, attempt: int) -> None:
        """Send all files, the order last."""
        with self._store(folder, attempt) as store:
            store.send(folder.path, from_service)
            store.is_same(folder.path)
            store.write("job.json", (folder.path / "job.json").read_bytes())

    def fetch(self, folder: JobFolder, attempt: int, *, at_once: bool = False) -> None:
        """Fetch what is new, but not more often than the other side sends."""
        place, now = self._place(folder, attempt), self._clock()
        if not at_once and now - self._fetched_at.get(place, -CARRY_SECONDS) < CARRY_SECONDS:
            return
        with self._store(folder, attempt) as store:
            store.fetch(folder.path, from_worker)
            self._fetched_at[place] = now

    def ask_to_stop(self, folder: JobFolder, attempt: int) -> None:
        """Pass the request on."""
        with self._store(folder, attempt) as store:
            store.write("stop", b"")

    def withdraw(self, folder: JobFolder, attempt: int) -> None:
        """Remove the order in the store, and in the folder."""
        with self._store(folder, attempt) as store:
            store.remove("job.json")
        folder.withdraw()

    def drop(self, folder: JobFolder, attempt: int) -> None:
        """Remove the attempt's files from the store, as far as possible."""
        place = self._place(folder, attempt)
        with suppress(NoAnswer), self._store(folder, attempt) as store:
            store.clear()
        self._stores.pop(place, None)
        self._fetched_at.pop(place, None)
