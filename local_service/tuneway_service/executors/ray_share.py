"""How a cluster's machines get at job folders: on storage that they have mounted, or by an object store."""

from __future__ import annotations

import shlex
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from tuneway_service.executors.ray_api import Trouble
from tuneway_service.relay import CARRY_SECONDS, Store, from_service, from_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuneway_service.folder import JobFolder


class Share(Protocol):
    """What passes between a job's folder here and the worker of one attempt. May raise `Trouble`."""

    def command(self, folder: JobFolder, attempt: int) -> str:
        """What the cluster is to run."""
        ...

    def offer(self, folder: JobFolder, attempt: int) -> None:
        """Let the worker have all that it needs."""
        ...

    def fetch(self, folder: JobFolder, attempt: int, *, at_once: bool = False) -> None:
        """Get what the worker has written."""
        ...

    def ask_to_stop(self, folder: JobFolder, attempt: int) -> None:
        """Let the worker see that the folder asks it to stop."""
        ...

    def withdraw(self, folder: JobFolder, attempt: int) -> None:
        """Take the order back; the worker saves nothing more."""
        ...

    def drop(self, folder: JobFolder, attempt: int) -> None:
        """The attempt is over."""
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
    """The folders themselves.

    Args:
        jobs_dir: Where the cluster's machines have them.
    """

    def __init__(self, jobs_dir: Path) -> None:
        self.jobs_dir = jobs_dir

    def command(self, folder: JobFolder, attempt: int) -> str:
        """The worker, on the folder."""
        return shell_line("worker", str(self.jobs_dir / folder.path.name), attempt)

    def offer(self, folder: JobFolder, attempt: int) -> None:
        """It is there."""

    def fetch(self, folder: JobFolder, attempt: int, *, at_once: bool = False) -> None:
        """It is here."""

    def ask_to_stop(self, folder: JobFolder, attempt: int) -> None:
        """The worker looks for itself."""

    def withdraw(self, folder: JobFolder, attempt: int) -> None:  # noqa: ARG002 - the folder has but one order
        """Remove the order."""
        folder.withdraw()

    def drop(self, folder: JobFolder, attempt: int) -> None:
        """The folder stays."""


class Relay:
    """Copies in a store, a place for each attempt; this side of `tuneway_service.relay`.

    Args:
        url: Where in the store.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url.rstrip("/")
        self._clock = clock
        self._stores: dict[str, Store] = {}
        self._fetched_at: dict[str, float] = {}
        Store(self.url)  # what can't work is refused now

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
            # stores fail in their own ways
            raise Trouble(f"the job storage at {self.url}: {type(error).__name__}: {error}") from error

    def command(self, folder: JobFolder, attempt: int) -> str:
        """The worker, with somebody who carries."""
        return shell_line("relay", self._place(folder, attempt), attempt)

    def offer(self, folder: JobFolder, attempt: int) -> None:
        """Carry all there, the order last."""
        with self._store(folder, attempt) as store:
            store.send(folder.path, from_service)
            store.is_same(folder.path)
            store.write("job.json", (folder.path / "job.json").read_bytes())

    def fetch(self, folder: JobFolder, attempt: int, *, at_once: bool = False) -> None:
        """Carry here what is new, not more often than the other side carries."""
        place, now = self._place(folder, attempt), self._clock()
        if not at_once and now - self._fetched_at.get(place, -CARRY_SECONDS) < CARRY_SECONDS:
            return
        with self._store(folder, attempt) as store:
            store.fetch(folder.path, from_worker)
            self._fetched_at[place] = now

    def ask_to_stop(self, folder: JobFolder, attempt: int) -> None:
        """Carry the question there."""
        with self._store(folder, attempt) as store:
            store.write("stop", b"")

    def withdraw(self, folder: JobFolder, attempt: int) -> None:
        """Remove the order there, and here."""
        with self._store(folder, attempt) as store:
            store.remove("job.json")
        folder.withdraw()

    def drop(self, folder: JobFolder, attempt: int) -> None:
        """Leave nothing there; what can't be removed stays."""
        place = self._place(folder, attempt)
        with suppress(Trouble), self._store(folder, attempt) as store:
            store.clear()
        self._stores.pop(place, None)
        self._fetched_at.pop(place, None)
