"""The protocol of an executor: launch workers, find out whether they live, stop them.

Everything else passes through the job's folder.
"""

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
    """Something about where a job runs, for the job's events; of several with the same mark, only the first counts."""

    message: str
    mark: str | None = None
    level: str = "info"


class Executor(Protocol):
    """A place where workers run. It also answers for workers that an earlier service launched."""

    pace: float
    """How often the supervisor looks at workers, in seconds."""

    detached: bool
    """Whether workers go on without the service; if so, they aren't stopped when it stops."""

    def launch(self, folder: JobFolder) -> None:
        """Start a worker on the folder, for the attempt that its order names; returns at once."""
        ...

    def alive(self, folder: JobFolder) -> bool:
        """Whether a worker may use the folder, now or later. Once this is False, none writes there any more."""
        ...

    def stop(self, folder: JobFolder, *, force: bool = False) -> None:
        """Ask the worker to save its state and stop; with `force`, end it now."""
        ...

    def notices(self, folder: JobFolder) -> Sequence[Notice]:
        """What is new about the job since the last call."""
        ...

    def exit_reason(self, folder: JobFolder) -> str:
        """Why the last worker ended without an outcome, as far as is known."""
        ...

    def close(self) -> None:
        """Release resources; the service stops."""
        ...


def exit_text(code: int) -> str:
    """A process's exit status as text."""
    if code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker exited with status {code}"


def with_last_line(reason: str, folder: JobFolder) -> str:
    """Add the last line of the worker's output to the reason for its end."""
    try:
        with folder.log.open("rb") as log:
            log.seek(max(0, folder.log.stat().st_size - LOG_TAIL))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"{reason}; its last output: {lines[-1]}" if lines else reason
