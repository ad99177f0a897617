"""Dagster as it is run: code server, webserver and daemon, each a process of its own, over one instance."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import httpx

SETTINGS = """
telemetry: {enabled: false}
run_retries: {enabled: true, max_retries: 0}
concurrency:
  pools: {default_limit: 2}
  runs: {max_concurrent_runs: 4}
"""
WORKSPACE = """
load_from:
  - grpc_server: {host: 127.0.0.1, port: %d, location_name: shop}
"""
OVER = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Dagster:
    """A whole Dagster on a folder of its own, and what a person does with it in the browser."""

    def __init__(self, home, definitions, environment):
        self.home = home
        self.processes = {}
        self.ports = {"code": free_port(), "web": free_port()}
        self.url = f"http://127.0.0.1:{self.ports['web']}"
        self.definitions = definitions
        (home / "dagster.yaml").write_text(SETTINGS)
        (home / "workspace.yaml").write_text(WORKSPACE % self.ports["code"])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "PYTEST", "COV"))}
        own = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes", "PYTHONWARNINGS": "ignore"}
        self.environment = kept | own | {"OMP_NUM_THREADS": "1"} | environment
        self.instance = dg.DagsterInstance.from_config(str(home))

    def command(self, component):
        programs = Path(sys.executable).parent
        workspace = ["-w", str(self.home / "workspace.yaml")]
        return {
            "code": [
                programs / "dagster", "api", "grpc", "-f", self.definitions, "-h", "127.0.0.1",
                "-p", str(self.ports["code"]), "--location-name", "shop",
            ],
            "daemon": [programs / "dagster-daemon", "run", *workspace],
            "web": [programs / "dagster-webserver", *workspace, "-h", "127.0.0.1", "-p", str(self.ports["web"])],
        }[component]  # fmt: skip

    def start(self, component):
        with (self.home / f"{component}.log").open("ab") as log:
            self.processes[component] = subprocess.Popen(
                self.command(component),
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.home,
                start_new_session=True,  # its whole group can be ended at once
            )

    def kill(self, component, sign=signal.SIGKILL):
        """End a component with everything that it started."""
        process = self.processes.pop(component)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def up(self):
        self.start("code")
        self.until(lambda: self._listens(self.ports["code"]), seconds=120)
        self.start("web")
        self.start("daemon")
        self.until(self._serves, seconds=120)

    def _listens(self, port):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def _serves(self):
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/server_info").status_code == 200
        return False

    def down(self):
        for component in list(self.processes):
            self.kill(component, signal.SIGTERM)
        self.instance.dispose()

    # --- what a person does

    def ask(self, query, **variables):
        reply = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in reply, reply
        (answer,) = reply["data"].values()
        assert "Error" not in answer["__typename"], answer
        return answer

    def launch(self, *keys, job="__ASSET_JOB", tags=None):
        """Materialize assets; gives the run's id."""
        params = {
            "selector": {
                "repositoryLocationName": "shop",
                "repositoryName": "__repository__",
                "jobName": job,
                "assetSelection": [{"path": key.path} for key in keys] or None,
            },
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        return self.ask(LAUNCH, params=params)["run"]["runId"]

    def terminate(self, run_id):
        self.ask(TERMINATE, run=run_id)

    def execute_again(self, run_id, strategy="ALL_STEPS"):
        return self.ask(EXECUTE_AGAIN, params={"parentRunId": run_id, "strategy": strategy})["run"]["runId"]

    def backfill(self, keys, partitions):
        params = {"assetSelection": [{"path": key.path} for key in keys], "partitionNames": partitions}
        return self.ask(BACKFILL, params=params)["backfillId"]

    # --- what is to be seen

    def status(self, run_id):
        return self.instance.get_run_by_id(run_id).status

    def until_run(self, run_id, status, *, seconds=240):
        def there():
            now = self.status(run_id)
            assert now == status or now not in OVER, f"{run_id} is {now}\n{self.messages(run_id)}"
            return now == status

        self.until(there, seconds=seconds, what=lambda: self.messages(run_id))

    def messages(self, run_id):
        return "\n".join(record.event_log_entry.user_message for record in self.events(run_id))

    def events(self, run_id):
        return self.instance.get_records_for_run(run_id).records

    def made(self, key, partition=None):
        """The materializations of an asset."""
        where = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
        return [one.asset_materialization for one in self.instance.fetch_materializations(where, limit=1000).records]

    def checked(self, key, name):
        """The results of an asset's check."""
        history = self.instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, name), 1000)
        return [record.event.dagster_event.event_specific_data for record in history if record.event]

    def until(self, condition, *, seconds=180.0, what=None):
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                logs = "\n".join(f"{path}\n{path.read_text()[-3000:]}" for path in self.home.glob("*.log"))
                raise AssertionError(f"not within {seconds} s: {what() if what else condition}\n{logs}")
            time.sleep(0.25)
        return value


@contextmanager
def running_dagster(definitions, **environment):
    """A whole Dagster; nothing of it is left when the block ends."""
    import shutil

    home = Path(tempfile.mkdtemp(prefix="tuneway-dagster-"))
    dagster = Dagster(home, definitions, environment)
    try:
        dagster.up()
        yield dagster
    finally:
        dagster.down()
        shutil.rmtree(home, ignore_errors=True)


LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
TERMINATE = """
mutation($run: String!) { terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } } }
"""
EXECUTE_AGAIN = """
mutation($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
