"""A registry that is a file of one worker is warned of where runs come to several."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from prefect_tuneway import _registries
from prefect_tuneway._runs import Run
from tuneway.errors import LookupFailed

OWN = "sqlite:///models.db"


@pytest.fixture
def pool(monkeypatch):
    """A work pool: its type, and the status of each worker; None: Prefect's API doesn't answer."""

    def make(kind, *workers):
        def asking():
            if kind is None:
                raise LookupFailed("Prefect's API can't be asked about this run")
            return Api(
                read_work_pool=lambda _name: SimpleNamespace(type=kind),
                read_workers_for_work_pool=lambda _name: [SimpleNamespace(status=status) for status in workers],
            )

        monkeypatch.setattr(_registries._runs, "asking", asking)

    return make


class Api(SimpleNamespace):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.mark.parametrize(
    ("kind", "workers", "warned"),
    [
        ("process", ["ONLINE"], False),
        ("process", ["ONLINE", "OFFLINE"], False),
        ("process", ["ONLINE", "ONLINE"], True),
        ("docker", ["ONLINE"], True),
        ("kubernetes", [], True),
        (None, [], False),
    ],
)
def test_a_file_of_one_worker_is_warned_of_where_runs_come_to_several(pool, kind, workers, warned):
    pool(kind, *workers)
    assert bool(_registries.worker_warning(Run("register_model", pool="here"), OWN)) is warned


def test_a_run_without_a_pool_or_with_a_registry_of_all_asks_nothing(monkeypatch):
    monkeypatch.setattr(_registries._runs, "asking", None)
    assert _registries.worker_warning(Run("register_model"), OWN) is None
    assert _registries.worker_warning(Run("register_model", pool="here"), "mlflow:https://mlflow.example") is None
