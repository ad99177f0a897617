"""The pace of one account: after a 429, all requests of the account slow down together.

If a thousand waits each backed off alone, they would all send again at the same moment. So they share a pace: after
a 429 no request is sent before the moment that the service gives. Then requests are sent one after another, with a
gap that doubles with each refusal and shrinks with each success.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from tuneway.calls import pause_asked

FIRST_GAP = 0.05
LONGEST_GAP = 10.0
RECOVERY = 0.97
"""The factor by which a success shortens the gap."""
DEFAULT_PAUSE = 1.0
"""Seconds to pause after a 429 that asks for no pause."""
LONGEST_HOLD = 60.0


class Pace:
    """Assigns each request the moment at which to send it. Threads may share a pace."""

    understood: bool = False
    """Whether any reply was one of this API."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gap = 0.0
        self._free_at = 0.0
        self._slowed_at = 0.0
        self._accepted: deque[float] = deque(maxlen=256)

    def reserve(self, now: float) -> float:
        """Reserve the next moment; gives the seconds until then."""
        with self._lock:
            moment = max(now, self._free_at)
            self._free_at = moment + self._gap
            return moment - now

    def heard(self, status: int, headers: Mapping[str, str], *, sent_at: float, now: float) -> None:
        """Adjust the pace to a reply."""
        with self._lock:
            if status == 429:
                self._slow_down(pause_asked(headers, now), sent_at, now)
            elif status < 400:
                self._accepted.append(now)
                self._gap = self._gap * RECOVERY if self._gap > 0.001 else 0.0
            if headers.get("x-ratelimit-remaining-requests") == "0":
                self._hold(now, _duration(headers.get("x-ratelimit-reset-requests", "")))

    def _slow_down(self, pause: float | None, sent_at: float, now: float) -> None:
        self._hold(now, DEFAULT_PAUSE if pause is None else pause)
        if sent_at < self._slowed_at:  # sent before the pace last slowed down, so it says nothing new
            return
        recent = sum(1 for moment in self._accepted if moment > now - 1.0)
        self._gap = min(max(self._gap * 2, 1.0 / recent if recent else FIRST_GAP), LONGEST_GAP)
        self._slowed_at = now

    def _hold(self, now: float, pause: float) -> None:
        """Send nothing for a while. After a minute a request is sent in any case; its refusal is raised as an error."""
        self._free_at = max(self._free_at, now + min(pause, LONGEST_HOLD))


def _duration(text: str) -> float:
    """Read a duration such as `1s`, `250ms` or `6m0s`; anything else is 0."""
    total, number = 0.0, ""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    rest = text.strip()
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = len(rest) - len(rest.lstrip("hms"))
        unit, rest = rest[:letters], rest[letters:]
        try:
            total += float(number) * units[unit]
        except (ValueError, KeyError):
            return 0.0
    return total
