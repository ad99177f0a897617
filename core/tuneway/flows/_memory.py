"""What was learnt of an account by its own submissions, for as long as the process lives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

MOST_REMEMBERED = 1000
SLACK, SLACK_WITHOUT_DATE = 5.0, 120.0
"""By how many seconds a job may seem older than our create: with the service's clock known, and without."""


class Memory:
    """What this process has learnt: whether the service keeps marks, and which of our jobs have none. Thread-safe."""

    keeps_marks: bool = False
    """Whether the service has shown Tuneway's mark in the metadata or the suffix of a job."""
    drops_metadata: bool = False
    """Whether the list has shown one of our jobs without the metadata that was sent."""
    drops_suffix: bool = False
    """Whether the list has shown one of our jobs without the suffix that was sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._date: tuple[str, float] | None = None
        self._lost: OrderedDict[str, float] = OrderedDict()
        self._unmarked: OrderedDict[str, dict[str, bool]] = OrderedDict()

    def heard(self, headers: Mapping[str, str], now: float) -> None:
        """Note the service's clock, from the headers of a reply."""
        date = headers.get("date")
        if date:
            self._date = date, now

    def lose(self, key: str, moment: float) -> None:
        """Note that a create with this key was sent, and that its result is unknown."""
        with self._lock:
            self._lost.setdefault(key, moment)
            _shrink(self._lost)

    def settled(self, key: str) -> None:
        """Note that the list shows by now whatever the lost creates with this key have done."""
        with self._lock:
            self._lost.pop(key, None)

    def lost_since(self, key: str) -> float | None:
        """Give the earliest moment, by the service's clock, at which a lost create can have made a job."""
        moment = self._lost.get(key)
        if moment is None:
            return None
        ahead = self._clock_ahead()
        return moment - SLACK_WITHOUT_DATE if ahead is None else moment + ahead - SLACK

    def unmarked(self, key: str, *, created: bool | None = None) -> list[str]:
        """Give the ids of our jobs with this key that have no mark.

        Args:
            key: The key.
            created: Only those that were surely created here, or only those that were recognised.
        """
        with self._lock:
            jobs = self._unmarked.get(key, {}).items()
            return [job_id for job_id, ours in jobs if created is None or ours is created]

    def note_unmarked(self, key: str, job_id: str, *, created: bool) -> None:
        """Note a job of ours that has no mark: one that was surely created here, or one that was recognised."""
        with self._lock:
            self._unmarked.setdefault(key, {})[job_id] = created
            _shrink(self._unmarked)

    def of_another(self, job_id: str, key: str) -> bool:
        """Whether this is a job of ours with another key."""
        with self._lock:
            return any(job_id in ids for other, ids in self._unmarked.items() if other != key)

    def _clock_ahead(self) -> float | None:
        """How many seconds the service's clock is ahead of ours; None if no reply has said."""
        if self._date is None:
            return None
        text, heard_at = self._date
        try:
            return parsedate_to_datetime(text).timestamp() - heard_at
        except ValueError:
            return None


def _shrink(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > MOST_REMEMBERED:
        kept.popitem(last=False)
