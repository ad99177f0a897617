"""Job folders outside of the data directory, such as on storage that a cluster's machines share.

Folders that the database doesn't know are swept away, and jobs whose folders are gone fail. So the storage
carries a mark that says whose it is: nothing is touched on storage that is another service's, or that isn't
mounted.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tuneway.errors import InvalidSpec
from tuneway_service.folder import replace

if TYPE_CHECKING:
    from pathlib import Path

    from tuneway_service.settings import Settings

MARK = "tuneway-owner.txt"


def settle(settings: Settings) -> None:
    """Make the job storage this service's own, or refuse: it is another's, or not what it was.

    Raises:
        InvalidSpec: Jobs would be lost there, or another service's.
    """
    note = settings.data_dir / "job_storage.txt"
    known, _, owner = note.read_text().partition("\n") if note.exists() else ("", "", "")
    if settings.job_storage is None:
        if known:
            raise InvalidSpec(f"this service's jobs lie in {known}", field="job_storage", hint="Give --job-storage.")
        return
    mark = settings.job_storage / MARK
    try:
        found = mark.read_text() if mark.exists() else None
        if found is None and not known:
            if any_in(settings.data_dir / "jobs"):
                raise InvalidSpec(
                    f"this service has jobs in {settings.data_dir / 'jobs'} already",
                    field="job_storage",
                    hint="Choose a new --data-dir for a service with a job storage.",
                )
            found = owner = secrets.token_hex(16)
            settings.job_storage.mkdir(parents=True, exist_ok=True)
            replace(mark, owner.encode())
        if found is not None and found == owner:
            replace(note, f"{settings.job_storage}\n{owner}".encode())
            return
    except OSError as error:
        raise InvalidSpec(f"can't use {settings.job_storage}: {error.strerror}", field="job_storage") from None
    if found is None:
        raise InvalidSpec(
            f"{settings.job_storage} holds no jobs of this service, which had them in {known}",
            field="job_storage",
            hint="Is it mounted? If the jobs are to move, move all that is in the old place.",
        )
    raise InvalidSpec(
        f"{settings.job_storage} is another service's", field="job_storage", hint="Choose another folder."
    )


def there(settings: Settings) -> bool:
    """Whether the job storage can be seen now."""
    return settings.job_storage is None or (settings.job_storage / MARK).exists()


def any_in(folder: Path) -> bool:
    """Whether there is anything in a folder."""
    return folder.is_dir() and any(folder.iterdir())
