"""Workers as processes on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from tuneway_service import devices, gang
from tuneway_service.executors.base import Notice, exit_text, with_last_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuneway_service.folder import JobFolder

# A worker doesn't need these, so it doesn't get them.
SECRETS = (
    "TUNEWAY_TOKEN",
    "OPENAI_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENAI_WEBHOOK_SECRET",
    "RAY_AUTH_TOKEN",
    "RAY_JOB_HEADERS",
    "VLLM_API_KEY",
)


def worker_environment() -> dict[str, str]:
    """The service's environment without the keys of the service and of its clients."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}


class LocalExecutor:
    """Launches workers as child processes; recognises workers of an earlier service by the lock that they hold."""

    pace = 0.05
    detached = False

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._exits: dict[str, int] = {}

    def launch(self, folder: JobFolder) -> None:
        """Start a worker on the folder."""
        order = folder.read("job") or {}
        with folder.log.open("ab") as log:
            self._children[folder.path.name] = subprocess.Popen(  # noqa: S603 - our own program
                gang.command(folder, order),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=worker_environment() | devices.visible(order.get("devices")),
            )

    def alive(self, folder: JobFolder) -> bool:
        """Whether our child process lives, or another process holds the folder."""
        child = self._children.get(folder.path.name)
        if child is not None:
            code = child.poll()
            if code is None:
                return True
            self._exits[folder.path.name] = code
            del self._children[folder.path.name]
        return folder.held()

    def stop(self, folder: JobFolder, *, force: bool = False) -> None:
        """Ask by a file, which works for workers of an earlier service too; force by a signal."""
        folder.ask_to_stop()
        if force:
            child = self._children.get(folder.path.name)
            pid = child.pid if child is not None else folder.holder()
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def notices(self, folder: JobFolder) -> Sequence[Notice]:  # noqa: ARG002 - the protocol's
        """None: the worker reports everything itself."""
        return ()

    def exit_reason(self, folder: JobFolder) -> str:
        """The process's exit status, and its last output."""
        code = self._exits.pop(folder.path.name, None)
        return with_last_line("its worker is gone" if code is None else exit_text(code), folder)

    def close(self) -> None:
        """Nothing to release: the supervisor has stopped the workers."""
