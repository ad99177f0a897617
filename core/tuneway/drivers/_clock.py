"""The clock of flows: epoch seconds that don't jump when somebody sets the system's clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The clock of one run of a flow."""

    def __call__(self) -> float:
        """The time in epoch seconds."""


def steady_clock() -> Clock:
    """Make a clock that starts at the system's time and then follows monotonic time."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset
