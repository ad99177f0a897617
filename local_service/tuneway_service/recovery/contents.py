"""Files: from their record files, or else from their contents."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from tuneway_service import record_files, sweeping
from tuneway_service.ids import is_id
from tuneway_service.jsonl import problem_in
from tuneway_service.recovery.rows import put
from tuneway_service.store import files

if TYPE_CHECKING:
    from pathlib import Path

    from tuneway_service.recovery.summary import Summary
    from tuneway_service.settings import Settings
    from tuneway_service.store.database import Connection, Database

CHUNK = 1 << 20


def recover_files(database: Database, settings: Settings, summary: Summary, *, rebuilt: bool) -> None:
    """Record every file whose content is there and that the database doesn't have.

    Args:
        database: The database.
        settings: The settings of the service.
        summary: What is reported.
        rebuilt: Whether the database is a new one.
    """
    unfinished = sweeping.unfinished(settings)
    folder = settings.files_dir
    names = {path.name for path in folder.iterdir() if is_id(path.name, "file-")} if folder.is_dir() else set()
    results = _results(settings)
    for name in summary.follow("files", names):
        if database.read_now(files.exists, name):
            if rebuilt:
                summary.add("files", "from the damaged database")
            continue
        source = _recover(database, settings, name, results, unfinished=name in unfinished)
        if source is None:
            summary.lose(f"files/{name}", "it can't be read, or its upload was never finished")
        else:
            summary.add("files", source)
    for path in sorted(settings.uploads_dir.iterdir()) if settings.uploads_dir.is_dir() else ():
        if is_id(path.name, "upload_") and not database.read_now(files.upload_exists, path.name):
            summary.lose(f"uploads/{path.name}", "it was never completed: send it again")
    for name in sorted(database.read_now(files.live_ids) - names):
        summary.lose(f"files/{name}", "its content is gone")


def _recover(
    database: Database, settings: Settings, name: str, results: set[tuple[int, int]], *, unfinished: bool
) -> str | None:
    """Record one file; returns where its facts were found, None if it can't be recovered."""
    content = settings.files_dir / name
    if content.is_symlink() or not content.is_file():
        return None
    record = record_files.read(record_files.record_of_file(settings, name))
    if record is not None and record.get("id") == name and database.write_now(put, "files", record):
        return "from their records"
    if unfinished:
        return None
    guessed = _facts(content, is_result=_place(content) in results)
    return "from their contents, under names of their own" if database.write_now(put, "files", guessed) else None


def _facts(content: Path, *, is_result: bool) -> dict[str, Any]:
    if is_result:
        purpose, filename = "fine-tune-results", "step_metrics.csv"
    elif _is_jsonl(content):
        purpose, filename = "fine-tune", f"{content.name}.jsonl"
    else:
        purpose, filename = "user_data", content.name
    stat = content.stat()
    return {
        "id": content.name,
        "created_at": int(stat.st_mtime),
        "filename": filename,
        "purpose": purpose,
        "bytes": stat.st_size,
        "sha256": hash_of(content),
    }


def _is_jsonl(content: Path) -> bool:
    with content.open("rb") as file:
        return problem_in(file) is None


def _results(settings: Settings) -> set[tuple[int, int]]:
    """The result files of jobs, which are links to the same content."""
    return {_place(path) for path in settings.jobs_dir.glob("ftjob-*/results.csv")}


def _place(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def hash_of(path: Path) -> str:
    """The SHA-256 of a content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def same_as(connection: Connection, path: Path) -> str | None:
    """The id of the file with the same content; None if there is none."""
    if not path.is_file():
        return None
    query = "SELECT id FROM files WHERE sha256 = ? AND deleted_at IS NULL ORDER BY seq LIMIT 1"
    row = connection.execute(query, (hash_of(path),)).fetchone()
    return row["id"] if row else None
