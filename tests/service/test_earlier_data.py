"""A data folder that an earlier version of the service wrote is read as before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.openai_jobs import openai_for
from support.service import RunningService, running_service

from tuneway_service.catalogue import Catalogue
from tuneway_service.settings import Settings
from tuneway_service.store import jobs
from tuneway_service.store.database import Database
from tuneway_service.store.records import JobBody

# The database of a service with a succeeded, a failed, a paused and a cancelled job, and what it answered for them.
DUMP = Path(__file__).with_name("schema_1.sql")
ANSWERS: dict[str, Any] = json.loads(DUMP.with_suffix(".json").read_text())


@pytest.fixture
def data(tmp_path) -> Path:
    """The data folder, with nothing in it but the database."""
    connection = sqlite3.connect(tmp_path / "tuneway.db")
    connection.executescript(DUMP.read_text())
    connection.close()
    return tmp_path


@pytest.fixture
def earlier(data) -> Iterator[RunningService]:
    """A service on that folder."""
    with running_service(data) as service:
        yield service


def test_its_jobs_are_shown_as_they_were(earlier):
    for job_id, answer in ANSWERS["jobs"].items():
        assert httpx.get(f"{earlier.base_url}/fine_tuning/jobs/{job_id}").json() == answer
    with openai_for(earlier) as client:
        listed = [job.id for job in client.fine_tuning.jobs.list()]
        assert listed == list(ANSWERS["jobs"])[::-1]
        assert [job.id for job in client.fine_tuning.jobs.list(metadata={"ü": "ß"})] == listed[-1:]
        assert client.fine_tuning.jobs.checkpoints.list(listed[-1]).data[0].metrics.step == 2


def test_its_jobs_have_pages(earlier):
    root = earlier.base_url.removesuffix("/v1")
    for job_id in ANSWERS["jobs"]:
        assert job_id in httpx.get(f"{root}/").text
        assert job_id in httpx.get(f"{root}/jobs/{job_id}").text


def test_a_worker_gets_the_same_order_for_a_job_of_before(data):
    """Workers that were started before, here or on a cluster, read the order."""
    order = ANSWERS["order"]
    database = Database(data / "tuneway.db")
    row = database.read_now(jobs.find, order["job_id"])
    assert Catalogue(Settings(data_dir=data)).order(row) == order
    database.close()


def test_a_field_that_a_later_version_added_is_ignored():
    body = JobBody(model="m", training_file="f", method={"type": "dpo", "dpo": {}}, seed=1)
    later = json.loads(body.encode()) | {"colour": "red"}
    assert JobBody.decode(json.dumps(later)) == JobBody.decode(body.encode())
