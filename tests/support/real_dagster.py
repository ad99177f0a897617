"""Dagster as it is run: code server, webserver and daemon, each a process of its own, over one instance."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import dagster as dg
import httpx
from support.stack import Stack, free_port

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


class Dagster(Stack):
    """A whole Dagster on a folder of its own, and what a person does with it in the browser."""

    engine = "dagster"

    def __init__(self, home, definitions, **environment):
        own = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
        super().__init__(home, own | environment)
        self.ports = {"code": free_port(), "web": free_port()}
        self.url = f"http://127.0.0.1:{self.ports['web']}"
        programs = Path(sys.executable).parent
        workspace = ["-w", str(home / "workspace.yaml")]
        self.components = {
            "code": [
                programs / "dagster", "api", "grpc", "-f", definitions, "-h", "127.0.0.1",
                "-p", str(self.ports["code"]), "--location-name", "shop",
            ],
            "web": [programs / "dagster-webserver", *workspace, "-h", "127.0.0.1", "-p", str(self.ports["web"])],
            "daemon": [programs / "dagster-daemon", "run", *workspace],
        }  # fmt: skip
        (home / "dagster.yaml").write_text(SETTINGS)
        (home / "workspace.yaml").write_text(WORKSPACE % self.ports["code"])
        self.instance = dg.DagsterInstance.from_config(str(home))

    def start(self, component):
        self.spawn(component, self.components[component])

    def up(self):
        self.start("code")
        self.until(lambda: self._listens(self.ports["code"]))
        self.start("web")
        self.start("daemon")
        self.until(lambda: self.answers(f"{self.url}/server_info"))

    def _listens(self, port):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def down(self):
        super().down()
        self.instance.dispose()

    # --- what a person does

    def ask(self, query, **variables):
        reply = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in reply, reply
        (answer,) = reply["data"].values()
        assert "Error" not in answer["__typename"], answer
        return answer

    def launch(self, *keys, job="__ASSET_JOB", tags=None, checks=True):
        """Materialize assets, with their checks or without; gives the run's id."""
        params = {
            "selector": {
                "repositoryLocationName": "shop",
                "repositoryName": "__repository__",
                "jobName": job,
                "assetSelection": [{"path": key.path} for key in keys] or None,
                **({} if checks else {"assetCheckSelection": []}),
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
