"""Time for a flow: epoch seconds that don't jump when somebody sets the clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells a run the time."""

    def __call__(self) -> float:
        """Epoch seconds."""


def steady_clock() -> Clock:
    """The wall's time now, and from then on only as much later as monotonic time says."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset
