"""Airflow as it is run: api-server, scheduler, dag-processor and triggerer, each a process of its own."""

from __future__ import annotations

import functools
import json
from datetime import datetime

import httpx
from support.stack import Stack, free_port

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


class Airflow(Stack):
    """A whole Airflow on a folder of its own, and what a person does with it over its API."""

    engine = "airflow"

    def __init__(self, home, connections, *, database=None):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (home / "dags").mkdir()
        environment = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4,
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(home / "lineage")}),
            "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",
        }
        if database:
            environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = database
        for conn_id, connection in connections.items():
            environment[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)
        super().__init__(home, environment)

    def start(self, component, *, name=None):
        self.spawn(name or component, self.command(component))

    def up(self):
        self.run("db", "migrate")
        for component in COMPONENTS:
            self.start(component)
        self.until(self._healthy, seconds=240)

    def _healthy(self):
        reply = self.answers(f"{self.url}/api/v2/monitor/health")
        parts = ("scheduler", "triggerer", "dag_processor")
        return reply and all(reply.json()[part]["status"] == "healthy" for part in parts)

    @functools.cached_property
    def token(self):
        """A login for the API."""
        return httpx.get(f"{self.url}/auth/token").json()["access_token"]

    @property
    def _headers(self):
        return {"authorization": f"Bearer {self.token}"}

    def page(self, path):
        """A page, as it is shown to who has logged in."""
        return httpx.get(f"{self.url}{path}", headers=self._headers, timeout=60)

    def api(self, method, path, **body):
        reply = httpx.request(method, f"{self.url}/api/v2{path}", json=body or None, headers=self._headers, timeout=60)
        assert reply.status_code < 400, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def trigger(self, dag_id, **conf):
        """Start a run, once the DAG is known."""
        self.until_known(dag_id)
        return self.api("POST", f"/dags/{dag_id}/dagRuns", logical_date=None, conf=conf)["dag_run_id"]

    def until_known(self, dag_id):
        """Wait until the DAG processor has read a DAG."""

        def known():
            return any(dag["dag_id"] == dag_id for dag in self.api("GET", "/dags?limit=100")["dags"])

        self.until(known)

    def asset_state(self, name, key):
        """What is kept for a model's asset under a key; None when nothing is."""
        [asset_id] = [
            asset["id"]
            for asset in self.api("GET", "/assets?limit=100")["assets"]
            if asset["uri"] == f"tuneway://models/{name}"
        ]
        entries = self.api("GET", f"/assets/{asset_id}/state-store")["asset_state_store"]
        return next((entry["value"] for entry in entries if entry["key"] == key), None)

    def task(self, dag_id, run_id, task_id):
        return self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")

    def until_task(self, dag_id, run_id, task_id, *states, tries=None):
        """Wait until a task is in one of these states."""

        def there():
            task = self.task(dag_id, run_id, task_id)
            return task if task["state"] in states and tries in (None, task["try_number"]) else None

        return self.until(there, what=lambda: self.task(dag_id, run_id, task_id))

    def until_run(self, dag_id, run_id, state):
        """Wait until a whole run is in this state: a task that ends is not yet a run that has ended."""

        def now():
            return self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]

        self.until(lambda: now() == state, what=now)

    def set_state(self, dag_id, run_id, task_id, state):
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.api("PATCH", path, new_state=state)

    def clear(self, dag_id, run_id, task_id):
        self.api(
            "POST",
            f"/dags/{dag_id}/clearTaskInstances",
            dry_run=False,
            dag_run_id=run_id,
            task_ids=[task_id],
            only_failed=False,
            reset_dag_runs=True,
        )

    def xcom(self, dag_id, run_id, task_id, key):
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api("GET", path)["value"]

    def log(self, dag_id, run_id, task_id, attempt=1):
        """All that a task's files of one attempt say, those of the triggerer included."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "\n".join(path.read_text() for path in sorted(folder.glob(f"attempt={attempt}.log*")))

    def lines(self, dag_id, run_id, task_id, attempt=1):
        """The same as pairs of moment and text, in the order of moments."""
        lines = [json.loads(line) for line in self.log(dag_id, run_id, task_id, attempt).splitlines() if line]
        return sorted((datetime.fromisoformat(line["timestamp"]), line["event"]) for line in lines)
