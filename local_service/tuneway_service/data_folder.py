"""Which folder the service takes as its data folder.

The service removes files in its data folder. So it takes a folder only if it is new or empty, if it has Tuneway's
label, or if an earlier version of Tuneway, which wrote no label, has its database there. A database that is missing or
damaged while files or jobs are there stops the start too: a new database would know none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuneway.errors import InvalidSpec
from tuneway_service.folder import replace
from tuneway_service.ids import is_id
from tuneway_service.sqlite_errors import DAMAGED_HINT
from tuneway_service.store.database import State, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tuneway_service.settings import Settings

LABEL = "tuneway-data.txt"
TEXT = "A local service of Tuneway keeps its data in this folder, and removes here what it doesn't need any more.\n"
# A new folder may have these: the service's lock, the model registry at its default place, and what a file system has.
NEUTRAL = frozenset({"service.lock", "models.db", "models.db-wal", "models.db-shm", "models.db-journal", "lost+found"})


def check(settings: Settings, *, recover: bool = False) -> None:
    """Refuse a folder that isn't Tuneway's, or whose database has to be recovered first. Changes nothing.

    Args:
        settings: The settings of the service.
        recover: Whether the database is recovered next.
    """
    try:
        names = {path.name for path in settings.data_dir.iterdir()}
        state = state_of(settings.database)
        orphans = _has_any(settings.files_dir, "file-") or _has_any(settings.jobs_dir, "ftjob-")
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidSpec(
            f"can't use the data directory {settings.data_dir}: {error.strerror}", field="data_dir"
        ) from None
    foreign = {name for name in names - NEUTRAL if not name.startswith(f".{LABEL}.")}
    # an earlier Tuneway wrote no label, and its database may be gone or damaged
    ours = LABEL in names or not foreign or orphans or state in (State.OURS, State.DAMAGED)
    if state is State.FOREIGN or not ours:
        raise _not_ours(settings.data_dir, foreign)
    if recover:
        return
    if state is State.DAMAGED:
        raise InvalidSpec(
            f"can't use the database {settings.database}: it is damaged", field="data_dir", hint=DAMAGED_HINT
        )
    if state is State.NONE and orphans:
        raise InvalidSpec(
            f"{settings.data_dir} has files or jobs, but no database",
            field="data_dir",
            hint="Start with --recover: it makes a database from the folders. To start empty, choose another data_dir.",
        )


def _not_ours(data_dir: Path, foreign: Iterable[str]) -> InvalidSpec:
    some = sorted(foreign)[:3]
    return InvalidSpec(
        f"{data_dir} isn't a data folder of Tuneway, and it isn't empty: it has {', '.join(some)}",
        field="data_dir",
        hint="Choose a new or an empty folder: the service removes files in its data folder. Nothing was changed.",
    )


def _has_any(folder: Path, prefix: str) -> bool:
    return folder.is_dir() and any(is_id(path.name, prefix) for path in folder.iterdir())


def label(data_dir: Path) -> None:
    """Write into a folder that `check` accepted that it is Tuneway's."""
    if not (data_dir / LABEL).exists():
        replace(data_dir / LABEL, TEXT.encode())
