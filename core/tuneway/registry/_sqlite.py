"""The embedded back end: one SQLite file, used with the standard library.

Each commit is one transaction in write-ahead mode, so a crash leaves all of it or nothing. Readers don't wait for
writers; writers wait for each other up to the busy time-out. Each call opens its own connection, so threads can share
a registry, and it survives a fork.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuneway._folders import expanded, warning_about
from tuneway.errors import RegistryError, RegistryUnavailable
from tuneway.models._curve import CurveRow
from tuneway.registry._backend import Entry, Ledger, Mark, Outdated, read
from tuneway.registry._schema import migrate
from tuneway.registry.records import AuditEvent, ModelRecord

BUSY_SECONDS = 30.0

log = logging.getLogger("tuneway")


class SqliteBackend:
    """A registry in one file.

    Args:
        path: The file. It is created with its folders if it doesn't exist.
        busy_timeout: The seconds to wait for another process's transaction.
    """

    def __init__(self, path: Path, *, busy_timeout: float = BUSY_SECONDS) -> None:
        self.path = expanded(path).absolute()
        self.uri = f"sqlite:///{self.path}"
        self._busy_timeout = busy_timeout
        self._ready = False

    def load(self, name: str, *, to_write: bool = False) -> Ledger:  # noqa: ARG002 - a crash leaves nothing to repair
        """Read all about a name, at one moment."""
        with self._transaction("BEGIN") as db:
            rows = db.execute(
                "SELECT version, job_id, model_id, record FROM versions WHERE name = ? ORDER BY version", (name,)
            ).fetchall()
            lines = db.execute("SELECT event FROM events WHERE name = ? ORDER BY seq", (name,)).fetchall()
        events = [read(AuditEvent, line, f"the history of {name}") for (line,) in lines]
        aliases: dict[str, int] = {}
        for event in events:
            for alias, target in event.moves.items():
                if target is None:
                    aliases.pop(alias, None)
                else:
                    aliases[alias] = target
        entries = {row[0]: Entry(name, *row) for row in rows}
        return Ledger(name, entries, events, aliases)

    def commit(
        self,
        name: str,
        *,
        head: int,
        events: Sequence[AuditEvent],
        record: ModelRecord | None = None,
        curve: Sequence[CurveRow] = (),  # noqa: ARG002 - this back end draws no charts
    ) -> int | None:
        """Append events, and a version if there is a record, in one transaction."""
        version = None
        with self._transaction("BEGIN IMMEDIATE") as db:
            (now,) = db.execute("SELECT coalesce(max(seq), 0) FROM events WHERE name = ?", (name,)).fetchone()
            if now != head:
                raise Outdated
            if record:
                version = _insert(db, record)
            for seq, event in enumerate(events, start=head + 1):
                line = event.placed(seq=seq, version=version or 0).model_dump_json(exclude_defaults=True)
                db.execute("INSERT INTO events (name, seq, event) VALUES (?, ?, ?)", (name, seq, line))
        return version

    def names(self) -> list[str]:
        """All model names, sorted."""
        with self._transaction("BEGIN") as db:
            return [name for (name,) in db.execute("SELECT DISTINCT name FROM versions ORDER BY name")]

    def find(self, by: Mark, value: str) -> list[tuple[str, int]]:
        """Find versions by an index."""
        table = "files" if by == "sha256" else "versions"
        query = f"SELECT DISTINCT name, version FROM {table} WHERE {by} = ? ORDER BY name, version"  # noqa: S608 - ours
        with self._transaction("BEGIN") as db:
            return db.execute(query, (value,)).fetchall()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """Open a connection and a transaction; raise errors of our tree."""
        try:
            with contextlib.closing(self._connect()) as db:
                db.execute(begin)
                try:
                    yield db
                except BaseException:
                    db.rollback()
                    raise
                db.commit()
        except sqlite3.Error as error:
            raise self._typed(error) from error
        except OSError as error:
            raise RegistryError(f"{self.uri}: {error}", registry=self.uri) from error

    def _connect(self) -> sqlite3.Connection:
        if not self._ready:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        # `isolation_level=None`, since transactions are explicit here
        db = sqlite3.connect(self.path, timeout=self._busy_timeout, isolation_level=None)
        try:
            migrate(db, self.uri)
        except BaseException:
            db.close()
            raise
        if not self._ready:
            warning = warning_about("the registry's folder", self.path.parent, may_be_read=True)
            if warning:
                log.warning("%s", warning)
        self._ready = True
        return db

    def _typed(self, error: sqlite3.Error) -> RegistryError:
        code = getattr(error, "sqlite_errorname", "") or ""
        text = f"{self.uri}: {error}"
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            hint = f"Another process has locked it for over {self._busy_timeout:g} s. Try again; nothing was changed."
            return RegistryUnavailable(text, hint=hint, registry=self.uri)
        if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")):
            hint = "Check the disk and the folder's permissions, then try again; nothing was changed."
            return RegistryUnavailable(text, hint=hint, registry=self.uri)
        if code.startswith("SQLITE_READONLY"):
            return RegistryError(text, hint="Make the file and its folder writable.", registry=self.uri)
        return RegistryError(text, hint="Check that this file is a model registry.", registry=self.uri)


def _insert(db: sqlite3.Connection, record: ModelRecord) -> int:
    (last,) = db.execute("SELECT coalesce(max(version), 0) FROM versions WHERE name = ?", (record.name,)).fetchone()
    version: int = last + 1
    db.execute(
        "INSERT INTO versions (name, version, job_id, model_id, record) VALUES (?, ?, ?, ?, ?)",
        (record.name, version, record.job_id, record.model_id, record.to_json()),
    )
    for role, file in (("training", record.training), ("validation", record.validation)):
        if file and file.sha256:
            db.execute(
                "INSERT INTO files (sha256, name, version, role) VALUES (?, ?, ?, ?)",
                (file.sha256, record.name, version, role),
            )
    return version
