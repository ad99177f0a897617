"""Reading replies: times in every format, and models that are built once."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tuneway import calls
from tuneway.calls import Response
from tuneway.models import Checkpoint, Event, File, Job, Model, Page, Permission, Upload, UploadPart

LISTS: list[tuple[type[Any], Callable[[], calls.Call[Any]]]] = [
    (Job, calls.jobs.listing),
    (Event, lambda: calls.jobs.events("ftjob-1")),
    (Checkpoint, lambda: calls.jobs.checkpoints("ftjob-1")),
    (File, calls.files.listing),
    (Model, calls.models.listing),
    (Permission, lambda: calls.permissions.listing("ft:x")),
]


@pytest.mark.parametrize(("model", "call"), LISTS, ids=[model.__name__ for model, _ in LISTS])
def test_a_lists_model_is_built_once_and_outlives_its_calls(model, call):
    """Building one takes milliseconds, on somebody's event loop; pydantic forgets those that nobody holds."""
    assert call().parse(Response(200, {}, b'{"data": []}')).data == []
    built = weakref.ref(Page[model])  # type: ignore[valid-type]
    gc.collect()
    assert built() is not None


NOON = 1_796_040_000.0


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (1_796_040_000, NOON), (1_796_040_000.5, NOON + 0.5), ("1796040000", NOON), (0, 0.0),
        (1_796_040_000_500, NOON + 0.5), (1_796_040_000_000_000, NOON), (1_796_040_000 * 10**9, NOON),
        ("2026-11-30T12:00:00Z", NOON), ("2026-11-30T12:00:00.500Z", NOON + 0.5),
        ("2026-11-30T12:00:00.123456789Z", NOON + 0.123456), ("2026-11-30T13:00:00+01:00", NOON),
        ("2026-11-30 12:00:00", NOON), ("2026-11-30T12:00:00", NOON),
        ("0001-01-01T00:00:00Z", None), ("9999-12-31T23:59:59-14:00", None), ("yesterday", None), ("", None),
        (None, None), ({"seconds": 1}, None), (10**400, None),
    ],
)  # fmt: skip
def test_a_time_is_read_in_every_format_that_services_send(sent, seconds):
    job = Job.model_validate_json(json.dumps({"id": "ftjob-1", "status": "running", "created_at": sent}))
    assert job.created_at == (seconds if seconds is None else pytest.approx(seconds, abs=1e-5))


@pytest.mark.parametrize(
    ("model", "name"),
    [(Job, "created_at"), (Job, "finished_at"), (Job, "estimated_finish"), (Event, "created_at"),
     (Checkpoint, "created_at"), (File, "created_at"), (File, "expires_at"), (Model, "created"),
     (Permission, "created_at"), (Upload, "created_at"), (Upload, "expires_at"), (UploadPart, "created_at")],
)  # fmt: skip
def test_every_object_understands_a_time_as_text(model, name):
    found = model.model_validate({"id": "x", "status": "running", name: "2026-11-30T12:00:00Z"})
    assert getattr(found, name) == NOON


def test_the_oldest_job_is_the_oldest_however_its_time_is_written():
    times = {"b": "2026-11-30T12:00:00Z", "c": 1_796_040_001, "a": 1_796_040_002_000}
    jobs = [Job.model_validate({"id": name, "status": "running", "created_at": at}) for name, at in times.items()]
    assert [job.id for job in sorted(jobs, key=lambda job: job.age_rank)] == ["b", "c", "a"]
