"""Removes what a service that was killed has left unfinished, and nothing else.

A content or a job's folder is put into place before the database has it. A note in the scratch folder, `ID.new`, names
it from before until after that. So what remains of a kill is known by its note: it is removed if the database doesn't
have it. A file or folder without a note is never removed only because the database doesn't know it: the database may
be new, or an old copy.

Links are left alone, because the service makes none.
"""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

from tuneway_service.ids import is_id
from tuneway_service.record_files import record_of_file
from tuneway_service.store import files, jobs

if TYPE_CHECKING:
    from pathlib import Path

    from tuneway_service.settings import Settings
    from tuneway_service.store.database import Database

log = logging.getLogger(__name__)

NEW = ".new"


def begin(settings: Settings, name: str) -> None:
    """Note that a content or a folder with this id is about to be put into place."""
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    (settings.scratch_dir / f"{name}{NEW}").touch()


def end(settings: Settings, name: str) -> None:
    """Remove that note: the database has it, or it was removed."""
    (settings.scratch_dir / f"{name}{NEW}").unlink(missing_ok=True)


def unfinished(settings: Settings) -> set[str]:
    """The ids that are noted."""
    if not settings.scratch_dir.is_dir():
        return set()
    return {path.name.removesuffix(NEW) for path in settings.scratch_dir.iterdir() if path.suffix == NEW}


def sweep(settings: Settings, database: Database) -> None:
    """Remove what is unfinished or was deleted. With a new database nothing is removed."""
    if database.is_new:
        return
    for name in unfinished(settings):
        _finish(settings, database, name)
    for path in settings.scratch_dir.iterdir():
        if is_id(path.name, "scratch_"):
            remove(path)
    deleted = database.read_now(files.deleted_ids)
    for path in settings.files_dir.iterdir():
        if path.name in deleted:
            remove_file(settings, path.name)
    sweep_uploads(settings, database)


def _finish(settings: Settings, database: Database, name: str) -> None:
    if is_id(name, "file-"):
        if not database.read_now(files.exists, name):
            remove_file(settings, name)
    elif is_id(name, "ftjob-"):
        if not database.read_now(jobs.exists, name):
            remove(settings.jobs_dir / name)
    else:
        return
    end(settings, name)


def sweep_uploads(settings: Settings, database: Database) -> None:
    """Remove the parts of uploads that have ended."""
    for path in settings.uploads_dir.iterdir():
        if is_id(path.name, "upload_") and database.read_now(files.upload_ended, path.name):
            remove(path)


def remove_file(settings: Settings, file_id: str) -> None:
    """Remove a file's content and its record."""
    record_of_file(settings, file_id).unlink(missing_ok=True)
    remove(settings.files_dir / file_id)


def remove(path: Path) -> None:
    """Remove a file or a folder; a link, and what it leads to, stays."""
    if path.is_symlink():
        log.warning("a link isn't removed", extra={"path": path})
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
