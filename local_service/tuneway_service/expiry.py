"""Removes what has expired, but not because the clock jumped.

What has expired isn't shown any more from that moment, and is shown again if the clock is set back. It is removed only
after it has been expired for a while by a clock that never jumps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tuneway_service.store import files, replays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tuneway_service.store.database import Connection, Database

GRACE_SECONDS = 900.0


class Expiry:
    """Finds and removes what has expired.

    Args:
        database: The database.
        clock: Seconds by a clock that never jumps.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self.database = database
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}

    def run(self) -> list[str]:
        """Remove what has been expired long enough; returns the files whose contents can be removed."""
        at = self._clock()
        self._since = {item: self._since.get(item, at) for item in self.database.read_now(_expired)}
        ripe = [item for item, since in self._since.items() if at - since >= GRACE_SECONDS]
        if ripe:
            self.database.write_now(_remove, ripe)
        return [name for kind, name in ripe if kind == "file"]


def _expired(connection: Connection) -> list[tuple[str, str]]:
    return [
        *(("file", name) for name in files.expired(connection)),
        *(("upload", name) for name in files.expired_uploads(connection)),
        *(("key", name) for name in replays.expired(connection)),
    ]


def _remove(connection: Connection, items: Iterable[tuple[str, str]]) -> None:
    act = {"file": files.expire, "upload": files.expire_upload, "key": replays.forget}
    for kind, name in items:
        act[kind](connection, name)
