"""Airflow as it is run: api-server, scheduler, dag-processor and triggerer, each a process of its own."""

from __future__ import annotations

import functools
import json
import shutil
from datetime import datetime
from pathlib import Path

import httpx
from support.stack import Stack, free_port

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


def jobs_of(client, run_id):
    """The jobs of a run, by the metadata that its task gives them."""
    return list(client.jobs.list(metadata={"run": run_id}))


def deferred_on_a_job(airflow, client, dag_id="stuck_deferred"):
    """Start a run, and wait until its task has made a job and waits for it; gives the ids of both."""
    run_id = airflow.trigger(dag_id)
    airflow.until_task(dag_id, run_id, "tune", "deferred")
    [job] = jobs_of(client, run_id)
    assert airflow.xcom(dag_id, run_id, "tune", "job_id") == job.id
    return run_id, job.id


class Airflow(Stack):
    """A whole Airflow on a folder of its own, and what a person does with it over its API."""

    engine = "airflow"

    def __init__(self, home, connections, *, database=None, broker=None, statsd=None):
        self.homes = [home]
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
            environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"postgresql+psycopg2://{database}"
        if broker:
            environment["AIRFLOW__CORE__EXECUTOR"] = "LocalExecutor,CeleryExecutor"
            environment["AIRFLOW__CELERY__BROKER_URL"] = f"sqla+postgresql+psycopg2://{broker}"
            environment["AIRFLOW__CELERY__RESULT_BACKEND"] = f"db+postgresql+psycopg2://{broker}"
        if statsd:
            environment["AIRFLOW__METRICS__STATSD_ON"] = "True"
            environment["AIRFLOW__METRICS__STATSD_PORT"] = str(statsd)
            environment["AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED"] = "True"
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

    def start_worker(self, name, home):
        """Start a Celery worker of the queue of its name. It has a home, logs and DAGs of its own, and one process."""
        self.homes.append(home)
        shutil.copytree(self.home / "dags", home / "dags")
        options = ("--queues", name, "--celery-hostname", f"{name}@%h", "--concurrency", "1")
        self.spawn(
            name,
            self.command("celery", "worker", *options, "--without-mingle", "--without-gossip"),
            HOME=str(home),
            PWD=str(home),
            XDG_DATA_HOME="",
            AIRFLOW_HOME=str(home),
            AIRFLOW__CORE__DAGS_FOLDER=str(home / "dags"),
            AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(free_port()),
            C_FORCE_ROOT="1",  # where the tests are root's
        )

    def _healthy(self):
        assert not self.ended(), self.logs()
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

    def until_run(self, dag_id, run_id, state, *, seconds=180.0):
        """Wait until a whole run is in this state: a task that ends is not yet a run that has ended."""

        def now():
            return self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]

        self.until(lambda: now() == state, what=now, seconds=seconds)

    def triggerers(self):
        """The numbers of the triggerers that look alive."""
        return {job["id"] for job in self.api("GET", "/jobs?job_type=TriggererJob&is_alive=true")["jobs"]}

    def set_state(self, dag_id, run_id, task_id, state):
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self.api("PATCH", path, new_state=state)

    def clear(self, dag_id, run_id, *task_ids):
        """Clear these tasks, every one that is mapped from them too; without any, the whole run."""
        self.api(
            "POST",
            f"/dags/{dag_id}/clearTaskInstances",
            dry_run=False,
            dag_run_id=run_id,
            task_ids=list(task_ids) or None,
            only_failed=False,
            reset_dag_runs=True,
        )

    def xcom(self, dag_id, run_id, task_id, key, *, map_index=-1):
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}?map_index={map_index}"
        return self.api("GET", path)["value"]

    def log(self, dag_id, run_id, task_id, attempt=1):
        """All that a task's files of one attempt say, those of the triggerer and of workers included."""
        folder = Path("logs", f"dag_id={dag_id}", f"run_id={run_id}", f"task_id={task_id}")
        paths = [path for home in self.homes for path in sorted((home / folder).glob(f"attempt={attempt}.log*"))]
        return "\n".join(path.read_text() for path in paths)

    def until_logged(self, dag_id, run_id, text, *, task_id="tune", times=1):
        """Wait until a text is in a task's log, so many times."""
        log = lambda: self.log(dag_id, run_id, task_id)  # noqa: E731
        self.until(lambda: log().count(text) >= times, what=log)

    def outputs(self, dag_id, task_id, key):
        """What a task has left in all the runs of its DAG that it ended well in."""
        runs = [run["dag_run_id"] for run in self.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]]
        done = [run for run in runs if self.task(dag_id, run, task_id)["state"] == "success"]
        return [self.xcom(dag_id, run, task_id, key) for run in done]

    def lines(self, dag_id, run_id, task_id, attempt=1):
        """The same as pairs of moment and text, in the order of moments."""
        lines = [json.loads(line) for line in self.log(dag_id, run_id, task_id, attempt).splitlines() if line]
        return sorted((datetime.fromisoformat(line["timestamp"]), line["event"]) for line in lines)
