"""Prefect as it is run: a server and process workers, each a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import httpx
from support.stack import Stack, free_port

POOL = "here"
EXECUTED = "prefect.worker.executed-flow-run"


class Name(str):
    """A variable's name, which `repr` writes without quotes into the source of a script."""

    __slots__ = ()
    __repr__ = str.__str__


class Prefect(Stack):
    """A whole Prefect on a folder of its own, with these flows in it, and what a person does with it over its API."""

    engine = "prefect"

    def __init__(self, home, flows=None, **environment):
        if flows:
            shutil.copy(flows, home / "flows.py")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        own = {
            "PREFECT_HOME": str(home),
            "PWD": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "PREFECT_CLI_COLORS": "false",
            "DO_NOT_TRACK": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        super().__init__(home, own | environment)
        self._http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def python(self, script):
        """A script as a process, to its end; gives what it printed."""
        return self.finish([sys.executable, "-c", script])

    def start_worker(self, name="worker", *, queue="default", **environment):
        where = ("--pool", POOL, "--work-queue", queue)
        self.spawn(name, self.command("worker", "start", *where, "--type", "process", "--name", name), **environment)

    def start_worker_elsewhere(self, name):
        """Start a worker with a home of its own, which takes the runs of a queue of the same name."""
        home = self.home / name
        home.mkdir()
        self.start_worker(name, queue=name, HOME=str(home), PREFECT_HOME=str(home / ".prefect"), PWD=str(home))
        return home

    def logs(self, run_id):
        """The log lines of a run, as one text."""
        mine = {"flow_run_id": {"any_": [run_id]}}
        return "\n".join(line["message"] for line in self.api("POST", "/logs/filter", logs=mine))

    def runs_of(self, deployment):
        """The runs of a deployment."""
        return self.api("POST", "/flow_runs/filter", flow_runs={"deployment_id": {"any_": [deployment]}})

    def up(self):
        self.spawn("server", self.command("server", "start", "--host", "127.0.0.1", "--port", str(self.port)))
        self.until(lambda: self.answers(f"{self.url}/health"))
        self.run("work-pool", "create", POOL, "--type", "process")

    def down(self):
        super().down()
        self._http.close()

    def deploy(self, entrypoint, *, before="", **options):
        """Make a deployment of a flow in the home folder: `flows.py:nightly`; `before` makes what options name."""
        name = entrypoint.partition(":")[2]
        words = "".join(f", {key}={value!r}" for key, value in options.items())
        self.python(
            f"{before}\nfrom prefect import flow\n"
            f"flow.from_source({str(self.home)!r}, {entrypoint!r})"
            f".deploy({name!r}, work_pool_name={POOL!r}, print_next_steps=False{words})\n"
        )
        return self.api("GET", f"/deployments/name/{name.replace('_', '-')}/{name}")["id"]

    def api(self, method, path, **body):
        """Ask the server: again while its database is locked, as Prefect's own clients do."""

        def answer():
            reply = self._http.request(method, path, json=body or None)
            return None if reply.status_code == HTTPStatus.SERVICE_UNAVAILABLE else reply

        reply = self.until(answer, what=lambda: f"{method} {path}")
        assert reply.status_code < 400, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def trigger(self, deployment, **parameters):
        return self.api("POST", f"/deployments/{deployment}/create_flow_run", parameters=parameters)["id"]

    def flow_run(self, run_id):
        return self.api("GET", f"/flow_runs/{run_id}")

    def state(self, run_id):
        return self.flow_run(run_id)["state"]["name"]

    def cancel(self, run_id):
        """What the button in the UI does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.api("POST", f"/flow_runs/{run_id}/set_state", state=state)

    def suspend(self, run_id):
        """Suspend a running flow run, as the button in the UI does."""
        state = {"type": "PAUSED", "name": "Suspended"}
        details = {"pause_reschedule": True, "pause_timeout": f"{datetime.now(UTC) + timedelta(hours=1):%FT%TZ}"}
        self.api("POST", f"/flow_runs/{run_id}/set_state", state=state | {"state_details": details})

    def reschedule(self, run_id):
        """Let a run that has ended (or whose worker has gone) be run again, as `prefect flow-run retry` does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        self.api("POST", f"/flow_runs/{run_id}/set_state", state=state, force=True)

    def until_state(self, run_id, *states):
        self.until(lambda: self.state(run_id) in states, what=lambda: self.state(run_id))

    def until_told(self, run_id):
        """Wait until the worker has told the end of a run's first try.

        A killed process's end is told twice: at once by what watches the process, and seconds later by the
        worker, even if the run has been scheduled again meanwhile, and then this ends the second try. Its
        event comes after both.
        """
        event = {"event": {"name": [EXECUTED]}, "related": {"id": [f"prefect.flow-run.{run_id}"]}}
        self.until(lambda: self.api("POST", "/events/filter", filter=event)["events"], what=lambda: self.state(run_id))

    def pids_of(self, run_id):
        """The processes that run a flow run: those whose environment names it."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdecimal() and run_id.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def until_gone(self, run_id):
        """Wait until nothing of a run has a process any more."""
        self.until(lambda: not self.pids_of(run_id))

    def kill_run(self, run_id):
        """End a flow run's own processes, as a machine that goes away does."""
        for pid in self.pids_of(run_id):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
