"""Job folders outside of the data directory, for example on storage that a cluster's machines share.

The service removes what it has left unfinished, and fails jobs whose folders are gone. Both would be wrong on storage
of another service, or while the storage isn't mounted. So a file on the storage names its owner,
and the service touches nothing unless it is the owner.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tuneway.errors import InvalidSpec
from tuneway_service.folder import replace

if TYPE_CHECKING:
    from pathlib import Path

    from tuneway_service.settings import Settings

OWNER = "tuneway-owner.txt"


def settle(settings: Settings) -> None:
    """Claim the job storage for this service, or check that it is the one claimed before.

    Raises:
        InvalidSpec: The storage belongs to another service, or isn't the one that has this service's jobs.
    """
    note = settings.data_dir / "job_storage.txt"
    known, _, owner = note.read_text().partition("\n") if note.exists() else ("", "", "")
    if settings.job_storage is None:
        if known:
            raise InvalidSpec(f"this service's jobs are in {known}", field="job_storage", hint="Give --job-storage.")
        return
    claim = settings.job_storage / OWNER
    try:
        found = claim.read_text() if claim.exists() else None
        if found is None and not known:
            if any_in(settings.data_dir / "jobs"):
                raise InvalidSpec(
                    f"this service has jobs in {settings.data_dir / 'jobs'} already",
                    field="job_storage",
                    hint="Choose a new --data-dir for a service with a job storage.",
                )
            if any_in(settings.jobs_dir):
                raise InvalidSpec(
                    f"{settings.jobs_dir} isn't empty, and no service has it",
                    field="job_storage",
                    hint="Choose a folder that has no folder `jobs`: the service removes files there.",
                )
            found = owner = secrets.token_hex(16)
            settings.job_storage.mkdir(parents=True, exist_ok=True)
            replace(claim, owner.encode())
        if found is not None and found == owner:
            replace(note, f"{settings.job_storage}\n{owner}".encode())
            return
    except OSError as error:
        raise InvalidSpec(f"can't use {settings.job_storage}: {error.strerror}", field="job_storage") from None
    if found is None:
        raise InvalidSpec(
            f"{settings.job_storage} has no jobs of this service; they were in {known}",
            field="job_storage",
            hint="Is it mounted? To move the jobs, move everything from the old directory.",
        )
    raise InvalidSpec(
        f"{settings.job_storage} belongs to another service", field="job_storage", hint="Choose another folder."
    )


def there(settings: Settings) -> bool:
    """Whether the job storage is mounted now."""
    return settings.job_storage is None or (settings.job_storage / OWNER).exists()


def any_in(folder: Path) -> bool:
    """Whether a folder exists and isn't empty."""
    return folder.is_dir() and any(folder.iterdir())
