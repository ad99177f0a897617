"""What an error of SQLite means, and what to do about it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from pathlib import Path

DAMAGED_HINT = (
    "Start once with --recover: it makes a new database from the folders beside it, and keeps the damaged one."
)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the database is damaged."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_locked(error: sqlite3.Error) -> bool:
    """Whether an error says that another program holds the database."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    # the low byte is the kind, the rest a detail
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def unusable(path: Path, error: sqlite3.Error) -> InvalidSpec:
    """The error for a database that can't be used, with what to do."""
    if is_damage(error):
        hint = DAMAGED_HINT
    elif is_locked(error):
        hint = "Another program holds it, such as a backup or a shell of SQLite: end that, then start again."
    else:
        hint = "Is there room on its disk? Is the disk local, and may this user write there?"
    return InvalidSpec(f"can't use the database {path}: {error}", field="data_dir", hint=hint)
