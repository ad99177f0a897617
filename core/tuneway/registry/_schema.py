"""The layout of the SQLite file, as migration steps. A file of any earlier version is migrated.

A released step is never edited; a change is a new step. All steps that a file needs run in one transaction, so a crash
between two steps leaves the file unchanged.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable

from tuneway.errors import RegistryError

# "tune" in ASCII, which distinguishes a registry from other SQLite files
APPLICATION_ID = 0x74756E65


def _first(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE versions ("
        " name TEXT NOT NULL, version INTEGER NOT NULL, job_id TEXT NOT NULL, model_id TEXT NOT NULL,"
        " record TEXT NOT NULL,"
        " PRIMARY KEY (name, version), UNIQUE (name, job_id, model_id))"
    )
    db.execute(
        "CREATE TABLE events ("
        " name TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (name, seq)) WITHOUT ROWID"
    )
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _find_by_file_and_model(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE files ("
        " sha256 TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, role TEXT NOT NULL,"
        " PRIMARY KEY (sha256, name, version, role)) WITHOUT ROWID"
    )
    db.execute("CREATE INDEX versions_by_job ON versions (job_id)")
    db.execute("CREATE INDEX versions_by_model ON versions (model_id)")
    for name, version, text in db.execute("SELECT name, version, record FROM versions").fetchall():
        record = json.loads(text)
        for role in ("training", "validation"):
            sha256 = (record.get(role) or {}).get("sha256")
            if sha256:
                db.execute("INSERT INTO files VALUES (?, ?, ?, ?)", (sha256, name, version, role))


STEPS: list[Callable[[sqlite3.Connection], None]] = [_first, _find_by_file_and_model]


def migrate(db: sqlite3.Connection, uri: str) -> None:
    """Migrate a file to the current layout. Refuse one that isn't a registry, or has a newer layout."""
    db.execute("BEGIN")  # read all at one moment, since another process may be creating the file
    version = _version(db, uri)
    db.execute("COMMIT")
    if version == len(STEPS):
        return
    # This fails while another process uses the file. Without it all is as safe, but readers wait for writers.
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[_version(db, uri) :]:
            step(db)
        db.execute(f"PRAGMA user_version = {len(STEPS)}")
    except ValueError as error:
        db.rollback()
        raise RegistryError(
            f"{uri} contains a record that can't be read, so it can't be migrated: {error}",
            hint="Nothing was changed. Restore the file from a backup.",
            registry=uri,
        ) from error
    except BaseException:
        db.rollback()
        raise
    db.commit()


def _version(db: sqlite3.Connection, uri: str) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise RegistryError(
            f"{uri} is another program's database, not a model registry",
            hint="Give the name of another file, which may be new.",
            registry=uri,
        )
    if version > len(STEPS):
        raise RegistryError(
            f"{uri} has layout {version}; this version of Tuneway knows layouts up to {len(STEPS)}",
            hint="A newer version of Tuneway has written it. Upgrade this one.",
            code="newer_layout",
            registry=uri,
        )
    return int(version)
