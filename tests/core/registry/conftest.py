"""One suite for every back end: what `registry` gives is SQLite, MLflow on a database, MLflow's server."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import time
from functools import partial

import httpx
import pytest
from support.postgres import new_database, programs, running_postgres
from support.registries import make_record
from support.stack import free_port

from tuneway.registry import open_registry

# MLflow asks nobody for anything, and says no more than it must.
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}

HAS_MLFLOW = importlib.util.find_spec("mlflow") is not None and importlib.util.find_spec("sqlalchemy") is not None
needs_mlflow = pytest.mark.skipif(not HAS_MLFLOW, reason="needs tuneway[mlflow]")

BACKENDS = [
    "sqlite",
    pytest.param("mlflow database", marks=needs_mlflow),
    pytest.param("mlflow server", marks=[needs_mlflow, pytest.mark.slow]),
    pytest.param("mlflow postgresql", marks=[needs_mlflow, pytest.mark.slow]),
]

SERVER_STARTS_IN = 60
# read before the tests' own environment hides it
SERVER_GIVEN = os.environ.get("TUNEWAY_TEST_MLFLOW")


def pytest_collection_modifyitems(items):
    """SQLAlchemy and others warn about MLflow's code; ours stays strict."""
    for item in items:
        if "mlflow" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """A real tracking server on loopback, in an environment of its own."""
    program = SERVER_GIVEN or shutil.which("mlflow")
    if not program:
        pytest.skip("no MLflow server: set TUNEWAY_TEST_MLFLOW to the `mlflow` of an environment that has it")
    folder = tmp_path_factory.mktemp("mlflow-server")
    port = free_port()
    command = [program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("PYTEST_CURRENT_TEST", None)  # MLflow behaves differently when it sees this
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            if not _answers(server, f"http://127.0.0.1:{port}/health"):
                text = (folder / "log").read_text()[-2000:]
                if SERVER_GIVEN:
                    pytest.fail(f"{program} does not start:\n{text}")
                pytest.skip(f"{program} can't serve (it is MLflow's client alone?): set TUNEWAY_TEST_MLFLOW")
            yield f"http://127.0.0.1:{port}"
        finally:
            # its workers are its own group
            with contextlib.suppress(ProcessLookupError):  # one that never ran is gone already
                os.killpg(server.pid, 15)
            server.wait(30)


def _answers(server, url):
    deadline = time.monotonic() + SERVER_STARTS_IN
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).is_success:
                return True
        except httpx.TransportError:
            time.sleep(0.2)
    return False


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory):
    """A database that MLflow's client uses directly, made once: that takes it a second."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL."""
    if programs() is None:
        pytest.skip("no PostgreSQL here: there is no initdb (Debian: postgresql)")
    pytest.importorskip("psycopg")
    with running_postgres(programs()) as place:
        yield place


@pytest.fixture(params=BACKENDS)
def uri(request, tmp_path):
    """The address of an empty registry, or of a shared one: names keep tests apart."""
    if request.param == "new mlflow database":
        return f"mlflow:sqlite:///{tmp_path}/mlflow.db"
    if request.param == "new mlflow postgresql":
        name = f"tuneway_{secrets.token_hex(4)}"
        return f"mlflow:postgresql+psycopg://{new_database(request.getfixturevalue('postgres'), name)}"
    if request.param == "mlflow database":
        return f"mlflow:{request.getfixturevalue('mlflow_database')}"
    if request.param == "mlflow postgresql":
        return f"mlflow:postgresql+psycopg://{request.getfixturevalue('postgres')}"
    if request.param == "mlflow server":
        return f"mlflow:{request.getfixturevalue('mlflow_server')}"
    return f"sqlite:///{tmp_path}/models.db"


@pytest.fixture
def registry(uri):
    return open_registry(uri)


@pytest.fixture
def name(request):
    """A model name that no other test uses."""
    return re.sub(r"\W+", "-", request.node.name)[:100].strip("-")


@pytest.fixture
def record(name):
    """`record("2", metrics={…})`: a record of this test's model, made by job 2."""
    return partial(make_record, name)
