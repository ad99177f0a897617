"""One SQLite file with many readers and one writer at a time, which never blocks the event loop.

The store's functions take a connection; `Database` runs each of them in one transaction:

    job = await database.read(jobs.get, job_id)
    job = await database.write(jobs.move, job_id, Move.CANCEL)
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from contextlib import closing
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

from tuneway.errors import InvalidSpec
from tuneway_service.sqlite_errors import is_damage, is_locked, unusable
from tuneway_service.store.schema import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

P = ParamSpec("P")
T = TypeVar("T")
Connection: TypeAlias = sqlite3.Connection
Row: TypeAlias = sqlite3.Row

# Readers share the processor with the event loop: more of them would only wait for each other.
READERS = 4
BUSY_SECONDS = 20
HELD_SECONDS = 1


class State(Enum):
    """What is at the place of the database."""

    NONE = "none"
    """Nothing, or a database without tables."""
    OURS = "ours"
    """The database of a service; parts of it may be damaged all the same."""
    FOREIGN = "foreign"
    """Another program's database."""
    DAMAGED = "damaged"
    """No database that can be read."""


def state_of(path: Path) -> State:
    """What is at the place of the database, by a look at the start of the file."""
    if not path.exists() or path.stat().st_size == 0:
        return State.NONE
    # first without the write-ahead log, and so without a trace in a folder that may be somebody else's
    for immutable in (True, False):
        try:
            with closing(connect_to_read(path, immutable=immutable)) as connection:
                found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                tables = {row["name"] for row in found}
        except sqlite3.Error as error:
            if not immutable:
                # locked, or a disk that fails: what opens it next says so
                return State.DAMAGED if is_damage(error) else State.OURS
        else:
            if tables:
                return State.OURS if {"jobs", "files", "models"} <= tables else State.FOREIGN
    return State.NONE


def connect_to_read(path: Path, *, immutable: bool = False) -> Connection:
    """Open a database that may be damaged; no row of it is changed. `immutable` reads the file alone, without locks."""
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if immutable else 'mode=ro'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
    connection.row_factory = Row
    return connection


class Database:
    """Runs functions on the database: `read_now` and `write_now` for threads, `read` and `write` for coroutines.

    Args:
        path: The database file; created if it doesn't exist, migrated if it is older.

    Attributes:
        is_new: Whether this made the database, so that it knows nothing of what lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: deque[Connection] = deque()
        self._writing = threading.Lock()
        self._limiters: tuple[CapacityLimiter, CapacityLimiter] | None = None
        self.is_new = False
        self._held = False
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._migrate()
        except sqlite3.Error as error:
            raise unusable(path, error) from None

    def _connect(self) -> Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.row_factory = Row
        connection.executescript(
            # FULL: what was acknowledged with 200 survives a power failure
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;"
        )
        return connection

    def _migrate(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version > len(VERSIONS):
            raise InvalidSpec(
                f"{self.path} is of a newer version of Tuneway (schema {version}, this one knows {len(VERSIONS)})",
                field="data_dir",
                hint="Upgrade tuneway, or choose another data directory.",
            )
        self.is_new = version == 0
        for number, script in enumerate(VERSIONS[version:], start=version + 1):
            self._writer.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")

    def read_now(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that only reads, on one snapshot of the database."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            return function(connection, *args, **kwargs)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.append(connection)

    def write_now(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that writes: all its changes are made or, if it raises, none."""
        with self._writing:
            self._begin()
            try:
                result = function(self._writer, *args, **kwargs)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            return result

    def _begin(self) -> None:
        """Begin to write. While another program holds the database, the first write alone waits long for it."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if is_locked(error) and not self._held:
                self._held = True
                self._writer.execute(f"PRAGMA busy_timeout = {int(HELD_SECONDS * 1000)}")
            raise
        if self._held:
            self._held = False
            self._writer.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    async def read(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read_now` in a thread."""
        call = partial(self.read_now, function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._limiter(0))

    async def write(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write_now` in a thread."""
        call = partial(self.write_now, function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._limiter(1))

    def _limiter(self, kind: int) -> CapacityLimiter:
        if self._limiters is None:
            self._limiters = CapacityLimiter(READERS), CapacityLimiter(2)
        return self._limiters[kind]

    def close(self) -> None:
        """Close all connections; SQLite merges the write-ahead log."""
        while self._idle:
            self._idle.pop().close()
        self._writer.close()


def page(
    connection: Connection,
    rows: Callable[..., list[T]],
    show: Callable[[T], dict[str, Any]],
    /,
    *args: Any,
    limit: int,
    **kwargs: Any,
) -> bytes:
    """A list as the API sends it, as JSON. `rows` returns one row more than the limit if there are more."""
    found = rows(connection, *args, limit=limit, **kwargs)
    data = [show(row) for row in found[:limit]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return json.dumps({"object": "list", "data": data, **ends, "has_more": len(found) > limit}).encode()
