"""Jobs put into the service's database directly, for tests of what goes on behind the API."""

from __future__ import annotations

from dataclasses import replace

from tuneway_service.store import jobs
from tuneway_service.store.database import Database
from tuneway_service.store.records import JobBody

BODY = JobBody(
    model="bytes",
    training_file="file-a",
    method={"type": "supervised", "supervised": {"hyperparameters": {}}},
    seed=1,
)


def new_job(database: Database, **body) -> str:
    """A job that has just been created; returns its id."""
    job_id = jobs.fresh_id()
    database.write_now(jobs.create, id=job_id, trainer="bytes", body=replace(BODY, **body))
    return job_id
