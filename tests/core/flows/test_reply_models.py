"""Reading replies costs what it costs once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tuneway import calls
from tuneway.calls import Response
from tuneway.models import Checkpoint, Event, File, Job, Model, Page, Permission

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
