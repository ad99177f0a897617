"""Makes the database again from what lies beside it: `tuneway serve --recover`.

What is known about a job or a file is taken from its record file; else from the damaged database, as far as that can
be read; else from the contents of its folder. A database that is whole stays, and gets only what it lacks. A damaged
one is kept in `damaged/`. Nothing is deleted, and a recovery that is interrupted is simply started again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from tuneway_service.folder import link, replace
from tuneway_service.recovery.contents import recover_files
from tuneway_service.recovery.folders import recover_jobs
from tuneway_service.recovery.salvage import salvage
from tuneway_service.recovery.summary import Summary
from tuneway_service.sqlite_errors import is_damage, unusable
from tuneway_service.store.database import Database, State, connect_to_read, state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuneway_service.settings import Settings

REPORT = "recovered.txt"
PARTS = ("", "-wal", "-shm", "-journal")


def recover(settings: Settings, log: Callable[[str], None]) -> None:
    """Recover the database; `log` gets lines about the progress, and the summary.

    Raises:
        InvalidSpec: The database can't be used, and not because of damage.
    """
    summary = Summary(log)
    log(f"Checking the database {settings.database}.")
    if is_whole(settings.database):
        log("It is whole: adding what it lacks.")
        database = Database(settings.database)
        with closing(database):
            recover_files(database, settings, summary, rebuilt=False)
            recover_jobs(database, settings, summary, rebuilt=False)
        summary.show()
        return
    set_aside(settings.database)
    kept = [folder for folder in _kept(settings.database.parent) if not (folder / REPORT).exists()]
    new = settings.database.with_name("tuneway.db.new")
    _remove(new)
    database = Database(new)
    with closing(database):
        for folder in kept:
            log(f"Reading what can be read of the damaged database, which is kept in {folder}.")
            salvage(folder / settings.database.name, database, summary)
        recover_files(database, settings, summary, rebuilt=True)
        recover_jobs(database, settings, summary, rebuilt=True)
    # the old write-ahead log must not be applied to the new database
    _remove(settings.database, *PARTS[1:])
    new.replace(settings.database)
    _sync(settings.data_dir)
    summary.show()
    for folder in kept:
        replace(folder / REPORT, ("\n".join(summary.lines()) + "\n").encode())


def is_whole(path: Path) -> bool:
    """Whether a database has no damage anywhere; reads all of it."""
    if state_of(path) is not State.OURS:
        return False
    try:
        with closing(connect_to_read(path)) as connection:
            found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        if is_damage(error):
            return False
        raise unusable(path, error) from None
    return found == "ok"


def set_aside(path: Path) -> None:
    """Keep a damaged database in a folder of its own; it also stays where it is."""
    if not path.exists() or any(_is_same(folder / path.name, path) for folder in _kept(path.parent)):
        return
    unfinished = path.parent / "damaged" / ".new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for part in PARTS:
        source = path.with_name(path.name + part)
        if source.exists() and part != "-shm":
            link(source, unfinished / source.name)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = len(list(unfinished.parent.iterdir()))
    unfinished.rename(unfinished.with_name(f"{stamp}-{number}"))


def _kept(data_dir: Path) -> list[Path]:
    """The folders with damaged databases, newest first."""
    folder = data_dir / "damaged"
    found = [path for path in folder.iterdir() if path.name != ".new"] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _remove(path: Path, *parts: str) -> None:
    for part in parts or PARTS:
        path.with_name(path.name + part).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
