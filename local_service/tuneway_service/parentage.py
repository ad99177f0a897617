"""Processes that end with the one that started them, however that one ends."""

from __future__ import annotations

import os
import signal
import threading
import time

from tuneway_service.sandbox import kernel

PARENT = "TUNEWAY_PARENT"
"""The variable with the pid of the process that starts others."""
LOOK_SECONDS = 0.5


def be_parent() -> None:
    """Processes that this one starts from now on can end with it."""
    os.environ[PARENT] = str(os.getpid())


def end_with_parent() -> None:
    """End this process by SIGKILL when its parent ends; it must have called `be_parent`."""
    parent = int(os.environ[PARENT])
    if not kernel.die_with_parent(signal.SIGKILL):
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    # it may have ended before
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
