"""What an executor is to the service: launch, look, stop. All else passes through the job's folder."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.folder import JobFolder

LOG_TAIL = 2000


@dataclass(frozen=True)
class Notice:
    """Something about where a job runs that its log should tell; with a mark, only the first time."""

    message: str
    mark: str | None = None
    level: str = "info"


class Executor(Protocol):
    """A place where workers run. It may be asked about workers that an earlier service launched."""

    pace: float
    """How often to look at workers, in seconds."""

    detached: bool
    """Whether workers go on without the service: then they are left at work when it stops."""

    def launch(self, folder: JobFolder) -> None:
        """Have a worker started on the folder, for the attempt that its order names; returns at once."""
        ...

    def alive(self, folder: JobFolder) -> bool:
        """Whether a worker may still be, or come, at the folder. Once False, none writes there any more."""
        ...

    def stop(self, folder: JobFolder, *, force: bool = False) -> None:
        """Ask the worker to save and leave; by force, end it now."""
        ...

    def news(self, folder: JobFolder) -> Sequence[Notice]:
        """What is to be told about the job since the last call."""
        ...

    def last_words(self, folder: JobFolder) -> str:
        """What is known of why the last worker ended without an outcome."""
        ...

    def close(self) -> None:
        """The service ends."""
        ...


def how_it_ended(code: int) -> str:
    """A process's exit status, in words."""
    if code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker exited with status {code}"


def with_last_line(how: str, folder: JobFolder) -> str:
    """The end of what the worker printed, added to how it ended."""
    try:
        with folder.log.open("rb") as log:
            log.seek(max(0, folder.log.stat().st_size - LOG_TAIL))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{how}; its last words: {lines[-1]}" if lines else how
