"""Dagster with an instance of its own for each test, and the real local service to talk to."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from support.dagster_runs import resources_of
from support.datasets import write
from support.fault_server import FaultServer
from support.quick_service import QuickService
from support.service import running_service
from support.support_chats import chats

from tuneway import Client, Poll

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Dagster and what it stands on warn about themselves; warnings about our code stay errors."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("error:::.*tuneway.*"))


@pytest.fixture
def server():
    """A service over HTTP that trains at once, and as a test tells it: `server.service.ends`."""
    with FaultServer(QuickService()) as server:
        yield server


@pytest.fixture
def service(server):
    """The same, where only its address matters."""
    return server


@pytest.fixture(scope="session")
def real():
    """The local service, which truly trains."""
    with running_service() as service:
        yield service


@pytest.fixture
def registry(tmp_path):
    return f"sqlite:///{tmp_path / 'models.db'}"


@pytest.fixture
def resources(service, registry, tmp_path):
    return resources_of(service, registry, tmp_path)


@pytest.fixture
def hosted(monkeypatch):
    """The service is taken for one elsewhere, which sends bills."""
    monkeypatch.setattr("tuneway.client._settings.is_local", lambda _url: False)
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def rows(tmp_path):
    """Training data of this test's own: no other test's job trains the same, and none validates with its rows."""
    return chats(24, seed=abs(hash(str(tmp_path))) % 1_000_000, apart_from=chats(12, seed=2))


@pytest.fixture
def data(tmp_path, rows):
    """The same in a file."""
    return write(tmp_path / "train.jsonl", rows)


@pytest.fixture
def run(instance, resources):
    """Materializes, and gives the run's result; `fails` is whether it is to fail."""

    def materialize(assets, *, fails=False, resources=resources, **arguments):
        result = dg.materialize(assets, instance=instance, resources=resources, raise_on_error=False, **arguments)
        assert result.success is not fails, [event.message for event in result.all_events if event.is_failure]
        return result

    return materialize


@pytest.fixture
def client(service):
    with Client(base_url=service.base_url, settle=0.05, poll=Poll(minimum=0.05, maximum=0.1)) as client:
        yield client
