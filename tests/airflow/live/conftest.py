"""One whole Airflow for all tests of this folder, and the services that it talks to."""

from __future__ import annotations

import contextlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.postgres import new_database, programs, running_postgres
from support.real_airflow import Airflow
from support.service import running_service
from support.statsd import running_statsd
from support.support_chats import chats

from tuneway import Client
from tuneway.registry import open_registry

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "examples" / "airflow"


def pytest_collection_modifyitems(items):
    """A wait that is too long fails before the time limit, and shows the logs."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """Training data and the model registry."""
    folder = tmp_path_factory.mktemp("airflow-data")
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, chats(24, seed=11))) + "\n")
    return folder


@pytest.fixture(scope="package")
def services():
    """One service that trains, and one whose jobs never end by themselves."""
    with running_service() as trains, running_service(faults="stuck=1") as stuck:
        yield trains, stuck


@pytest.fixture(scope="package")
def postgres():
    """A real PostgreSQL; None where there is none, or no drivers for it."""
    with contextlib.ExitStack() as stack:
        drivers = all(map(find_spec, ("asyncpg", "psycopg", "psycopg2")))
        yield stack.enter_context(running_postgres(programs())) if programs() and drivers else None


@pytest.fixture(scope="package")
def metrics():
    """A StatsD server, which hears what Airflow's components count; it hears nothing without StatsD's client."""
    with running_statsd() as metrics:
        yield metrics


@pytest.fixture(scope="package")
def airflow(services, folder, postgres, metrics):
    """All of Airflow's components, each a process of its own; its data is in PostgreSQL, if that is here."""
    trains, stuck = (service.base_url for service in services)
    connections = {
        "tuneway_default": to(trains, registry=f"sqlite:///{folder / 'models.db'}"),
        "stuck": to(stuck),
        "settled": to(stuck, settle=0.2),
        "settling": to(stuck, settle=60),
        "without_registry": to(trains),
    }
    patch = pytest.MonkeyPatch()
    patch.setenv("TUNEWAY_TEST_DATA", str(folder / "train.jsonl"))
    patch.setenv("SUPPORT_DATA", str(EXAMPLES.parent / "data"))
    places = {"statsd": metrics.port} if find_spec("statsd") else {}
    if postgres:
        connections["shared_registry"] = to(trains, registry=f"mlflow:postgresql://{new_database(postgres, 'mlflow')}")
        places |= {"database": postgres, "broker": new_database(postgres, "broker")}
    with Airflow.running(connections, **places) as airflow:
        shutil.copy(HERE / "dags.py", airflow.home / "dags" / "dags.py")
        yield airflow
    patch.undo()


def to(base_url, **extra):
    """A connection."""
    return {"conn_type": "tuneway", "host": base_url, "extra": extra}


@pytest.fixture
def registry(folder):
    return open_registry(f"sqlite:///{folder / 'models.db'}")


@pytest.fixture
def trains(services):
    with Client(base_url=services[0].base_url) as client:
        yield client


@pytest.fixture
def stuck(services):
    with Client(base_url=services[1].base_url) as client:
        yield client
