"""The facts about jobs and files beside their contents, so that a lost database can be made again.

A job's row of the database is in its folder as `record.json`; a file's row is in `records/ID.json`. A record file is
written when the job or the file is created, and again whenever the job's status changes. The column `recorded` says
which rows still have to be written, so a kill leaves none out.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from tuneway_service.folder import replace
from tuneway_service.store import files, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuneway_service.settings import Settings
    from tuneway_service.store.database import Connection, Database, Row

log = logging.getLogger(__name__)

AT_ONCE = 50
PAUSE_SECONDS = 60.0


def record_of_job(settings: Settings, job_id: str) -> Path:
    """The record file of a job."""
    return settings.jobs_dir / job_id / "record.json"


def record_of_file(settings: Settings, file_id: str) -> Path:
    """The record file of a file."""
    return settings.records_dir / f"{file_id}.json"


def read(path: Path) -> dict[str, Any] | None:
    """The row in a record file; None if there is none, or it can't be read."""
    try:
        row = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) else None


class Recorder:
    """Writes the record files."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self._pause_until = 0.0

    def write_due(self) -> bool:
        """Write some of the rows that have no record file yet; returns whether there may be more."""
        if time.monotonic() < self._pause_until:
            return False
        found = self.database.read_now(_due)
        for table, rows in found.items():
            for row in rows:
                if not self._write(table, row):
                    return False
        if any(found.values()):
            self.database.write_now(_note, found)
        return any(len(rows) == AT_ONCE for rows in found.values())

    def write_now(self, table: str, row_id: str) -> None:
        """Write one row, which was just created, before the client gets its answer. A failure is made good later."""
        try:
            row = self.database.read_now(_row, table, row_id)
        except sqlite3.Error:
            log.exception("a record can't be written now", extra={"id": row_id})
        else:
            self._write(table, row)

    def _write(self, table: str, row: Row) -> bool:
        place = record_of_job if table == "jobs" else record_of_file
        content = {name: row[name] for name in row.keys() if name != "recorded"}  # noqa: SIM118 - not a mapping
        try:
            replace(place(self.settings, row["id"]), json.dumps(content).encode())
        except FileNotFoundError:
            pass  # its folder is gone, and with it all that could be recovered
        except OSError as error:
            log.error("a record can't be written now", extra={"id": row["id"], "error": error})  # noqa: TRY400
            self._pause_until = time.monotonic() + PAUSE_SECONDS
            return False
        return True


def _due(connection: Connection) -> dict[str, list[Row]]:
    return {"jobs": jobs.unrecorded(connection, AT_ONCE), "files": files.unrecorded(connection, AT_ONCE)}


def _row(connection: Connection, table: str, row_id: str) -> Row:
    row: Row = connection.execute(f"SELECT * FROM {table} WHERE id = ?", (row_id,)).fetchone()  # noqa: S608
    return row


def _note(connection: Connection, found: Mapping[str, list[Row]]) -> None:
    """Note what was written; a job that has changed since stays to be written."""
    connection.executemany(
        "UPDATE jobs SET recorded = 1 WHERE seq = ? AND status = ? AND attempt = ?",
        [(row["seq"], row["status"], row["attempt"]) for row in found["jobs"]],
    )
    connection.executemany("UPDATE files SET recorded = 1 WHERE seq = ?", [(row["seq"],) for row in found["files"]])
