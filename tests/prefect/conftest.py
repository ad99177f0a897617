"""A real Prefect server with a database of its own, and a service that trains at once."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

import certifi

# Before Prefect is imported: it reads these once.
HOME = Path(tempfile.mkdtemp(prefix="tuneway-prefect-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

# Each of Prefect's clients reads all certificates, also those that never speak TLS: one is read much sooner.
ONE_CERTIFICATE = HOME / "certificate.pem"
END = "-----END CERTIFICATE-----\n"
ONE_CERTIFICATE.write_text(Path(certifi.where()).read_text().partition(END)[0] + END)

os.environ |= {
    "PREFECT_HOME": str(HOME),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # tasks outside of flows are tested too
    "PREFECT_API_SSL_CERT_FILE": str(ONE_CERTIFICATE),
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",  # there are no automations
    "PREFECT_CLI_COLORS": "false",
    "DO_NOT_TRACK": "1",
}

import pytest  # noqa: E402
from support.fault_server import FaultServer  # noqa: E402
from support.quick_service import QuickService  # noqa: E402
from support.service import running_service  # noqa: E402
from support.support_chats import chats  # noqa: E402

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Prefect and what it stands on warn about themselves; warnings about our code stay errors.

    Whichever test is the first starts the server, which takes a busy machine longer than a test may take.
    """
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.add_marker(pytest.mark.filterwarnings("error:::.*tuneway.*"))
            if not any(map(item.get_closest_marker, ("slow", "timeout"))):
                item.add_marker(pytest.mark.timeout(func_only=True))  # the server's start has a limit of its own


@pytest.fixture(scope="session")
def prefect():
    """Prefect's own server, for the fast tests."""
    from prefect import settings
    from prefect.testing.utilities import prefect_test_harness

    # The end of each run waits up to a second for the thread of its heartbeat, which nobody listens to here.
    # The oldest Prefects have none.
    heartbeat = getattr(settings, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", None)
    still = settings.temporary_settings(updates={heartbeat: None} if heartbeat else {})
    with still, prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def server(prefect, monkeypatch, tmp_path):
    """A service behind a real socket that trains at once, and the environment that leads there."""
    with FaultServer(QuickService()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("TUNEWAY_REGISTRY_URI", f"sqlite:///{tmp_path / 'models.db'}")
        yield server


@pytest.fixture
def credentials(server):
    """Credentials for the same, which believe a look at once."""
    from prefect_tuneway import FineTuningCredentials

    return FineTuningCredentials(base_url=server.base_url, api_key="sk-hidden-from-all", options={"settle": 0})


@pytest.fixture(scope="session")
def real_service():
    """The real local service."""
    with running_service() as service:
        yield service


@pytest.fixture
def data(tmp_path):
    """Training data of this test's own: no other test's job trains the same."""
    return write_data(tmp_path / "train.jsonl", seed=abs(hash(str(tmp_path))) % 1_000_000)


def write_data(path, *, seed):
    path.write_text("\n".join(map(json.dumps, chats(24, seed=seed))) + "\n")
    return path


@pytest.fixture
def again():
    """Runs an existing flow run's flow once more, as a restart or `prefect flow-run retry` does."""
    return run_again


def run_again(flow, flow_run_id, **parameters):
    """Run a flow run again under its own id, in this process."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Scheduled

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Scheduled(name="AwaitingRetry"), force=True)
        flow_run = client.read_flow_run(flow_run_id)
    return run_flow(flow, flow_run=flow_run, parameters=parameters, return_type="state")
