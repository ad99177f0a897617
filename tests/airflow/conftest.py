"""A real Airflow with a database of its own, and the real local service to talk to."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

# Before Airflow is imported: it reads these once.
HOME = Path(tempfile.mkdtemp(prefix="tuneway-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4,
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
}

import pytest  # noqa: E402
from support.service import running_service  # noqa: E402
from support.support_chats import chats  # noqa: E402

HERE = Path(__file__).parent


class Supervisor:
    """What a task's supervisor answers, from memory."""

    def __init__(self):
        self.xcoms = {}
        self.state = "deferred"

    def send(self, message):
        from airflow.sdk.execution_time.comms import GetTaskStates, GetXCom, SetXCom, TaskStatesResult, XComResult

        if isinstance(message, SetXCom):
            self.xcoms[message.key] = message.value
            return None
        if isinstance(message, GetXCom):
            return XComResult(key=message.key, value=self.xcoms.get(message.key))
        if isinstance(message, GetTaskStates):
            return TaskStatesResult(task_states={"run": dict.fromkeys(message.task_ids, self.state)})
        raise AssertionError(f"not expected: {message}")


def pytest_collection_modifyitems(items):
    """Airflow and what it stands on warn about themselves; warnings about our code stay errors."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("error:::.*tuneway.*"))


@pytest.fixture(scope="session")
def database():
    """Airflow's own database, migrated once."""
    (HOME / "dags").mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.utils.db import initdb

        initdb()
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        DagBundlesManager().sync_bundles_to_db()
    return HOME


@pytest.fixture(scope="session")
def _service():
    with running_service() as service:
        yield service


@pytest.fixture
def service(_service, monkeypatch, tmp_path):
    """The local service, and the connection that leads there."""
    connect(monkeypatch, _service.base_url, registry=f"sqlite:///{tmp_path / 'models.db'}")
    return _service


def connect(monkeypatch, base_url, conn_id="tuneway_default", **extra):
    # a service on loopback shows at once what was sent to it
    connection = {"conn_type": "tuneway", "host": base_url, "extra": {"settle": 0.2} | extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))


@pytest.fixture
def data(tmp_path):
    """Training data of this test's own: no other test's job trains the same."""
    path = tmp_path / "train.jsonl"
    seed = abs(hash(str(tmp_path))) % 1_000_000
    path.write_text("\n".join(map(json.dumps, chats(24, seed=seed))) + "\n")
    return path


@pytest.fixture
def supervisor(monkeypatch):
    """Stands in for the process that a task, or a trigger, has above it."""
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


@pytest.fixture
def run(database):
    """Runs a DAG once, as `dag.test()` does; gives its state, and what its tasks have told."""
    return run_dag


def run_dag(dag, **arguments):
    from support.any_airflow import DagBag, sync_bag_to_db

    bag = DagBag(dag_folder=str(HOME / "dags"))
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    ended = dag.test(**arguments)
    return str(ended.state), told_in(ended.run_id)


def told_in(run_id):
    """The XComs of a run, by task and key."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    what = select(XComModel.task_id, XComModel.key, XComModel.value).where(XComModel.run_id == run_id)
    with create_session() as session:
        rows = session.execute(what).all()
    return {(task, key): value for task, key, value in rows}


@pytest.fixture(scope="session")
def _stuck():
    with running_service(faults="stuck=1") as service:
        yield service


@pytest.fixture
def stuck(_stuck, monkeypatch):
    """A service whose jobs never end by themselves, and the connection that leads there."""
    connect(monkeypatch, _stuck.base_url)
    return _stuck


@pytest.fixture
def tries(database):
    """Tells how often each task of a DAG was tried."""
    return tries_of


def tries_of(dag_id):
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.execute(
            select(TaskInstance.task_id, TaskInstance.try_number).where(TaskInstance.dag_id == dag_id)
        ).all()
    return dict(rows)


class Heard:
    """What is told to Airflow's metrics."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.timings: dict[str, float] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def incr(self, stat, count=1, rate=1, *, tags=None):
        self.counts[stat] = self.counts.get(stat, 0) + count
        self.tags[stat] = tags

    def timing(self, stat, dt, *, tags=None):
        self.timings[stat] = dt
        self.tags[stat] = tags


@pytest.fixture
def heard(monkeypatch):
    made = Heard()
    from airflow_tuneway import _measures

    monkeypatch.setattr(_measures, "Stats", made)
    return made
