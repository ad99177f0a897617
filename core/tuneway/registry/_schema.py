"""The SQLite file's layout, as the steps that lead to it: a file of any earlier version is brought along.

A step is never edited once released; a change is a new step. All steps that a file needs run in one
transaction, so a crash between two leaves the file as it was.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable

from tuneway.errors import RegistryError

# "tune": tells a registry from everybody else's SQLite files
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
    """Bring a file to today's layout; refuse one that isn't a registry, or is from the future."""
    db.execute("BEGIN")  # so that all that is asked has one answer, while another process makes the file
    version = _version(db, uri)
    db.execute("COMMIT")
    if version == len(STEPS):
        return
    # Can only be switched while nobody else is in the file; without it all is as safe, readers just wait more.
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
            f"{uri} holds a record that can't be read, so it can't be brought to today's layout: {error}",
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
            hint="Give another file; it will be made.",
            registry=uri,
        )
    if version > len(STEPS):
        raise RegistryError(
            f"{uri} has layout {version}; this Tuneway knows layouts up to {len(STEPS)}",
            hint="A newer Tuneway has written it: upgrade this one.",
            code="newer_layout",
            registry=uri,
        )
    return int(version)
