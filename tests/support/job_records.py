"""Jobs put into the service's database directly, for tests of what goes on behind the API."""

from __future__ import annotations

from typing import Any

from tuneway_service.store import jobs
from tuneway_service.store.database import Database

BODY: dict[str, Any] = {
    "model": "bytes",
    "training_file": "file-a",
    "validation_file": None,
    "method": {"type": "supervised", "supervised": {"hyperparameters": {}}},
    "seed": 1,
    "suffix": None,
    "metadata": None,
    "integrations": [],
}


def new_job(database: Database, **body) -> str:
    """A job that has just been created; returns its id."""
    job_id = jobs.fresh_id()
    database.write_now(jobs.create, id=job_id, trainer="bytes", body=BODY | body)
    return job_id
