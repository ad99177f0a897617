"""Prefect as it is run: a server and process workers, each a process of its own."""

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

import httpx

POOL = "here"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Prefect:
    """A whole Prefect on a folder of its own, and what a person does with it over its API."""

    def __init__(self, home, environment):
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.processes = {}
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYTEST", "COV"))
        } | {
            "PREFECT_HOME": str(home),
            "PWD": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "PREFECT_CLI_COLORS": "false",
            "DO_NOT_TRACK": "1",
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        self.environment |= environment
        self._http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def command(self, *words):
        return [sys.executable, "-m", "prefect", *words]

    def run(self, *words):
        """A command of Prefect's, to its end; gives what it said."""
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"prefect {' '.join(words)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, script):
        """A script as a process, to its end; gives what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, name, command, **environment):
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=self.environment | environment,
                cwd=self.home,
                start_new_session=True,  # its whole group can be ended at once
            )
        return self.processes[name]

    def start_worker(self, name="worker", **environment):
        command = self.command("worker", "start", "--pool", POOL, "--type", "process", "--name", name)
        return self.start(name, command, **environment)

    def kill(self, name, sign=signal.SIGKILL):
        """End a process with everything that it started."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def up(self):
        self.start("server", self.command("server", "start", "--host", "127.0.0.1", "--port", str(self.port)))
        self.until(self._healthy, seconds=120)
        self.run("work-pool", "create", POOL, "--type", "process")

    def _healthy(self):
        with suppress(httpx.TransportError):
            return self._http.get("/health").status_code == 200
        return False

    def down(self):
        for name in list(self.processes):
            self.kill(name, signal.SIGTERM)
        self._http.close()

    def deploy(self, entrypoint, **options):
        """Make a deployment of a flow in the home folder: `flows.py:nightly`."""
        name = entrypoint.partition(":")[2]
        words = "".join(f", {key}={value!r}" for key, value in options.items())
        self.python(
            "from prefect import flow\n"
            f"flow.from_source({str(self.home)!r}, {entrypoint!r})"
            f".deploy({name!r}, work_pool_name={POOL!r}, print_next_steps=False{words})\n"
        )
        return self.api("GET", f"/deployments/name/{name.replace('_', '-')}/{name}")["id"]

    def api(self, method, path, **body):
        reply = self._http.request(method, path, json=body or None)
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

    def reschedule(self, run_id):
        """Let a run that has ended (or whose worker has gone) be run again, as `prefect flow-run retry` does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        self.api("POST", f"/flow_runs/{run_id}/set_state", state=state, force=True)

    def until_state(self, run_id, *states, seconds=150):
        self.until(lambda: self.state(run_id) in states, seconds=seconds, what=lambda: self.state(run_id))

    def artifacts(self, run_id):
        return self.api("POST", "/artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}})

    def logs(self, run_id):
        return [line["message"] for line in self.api("POST", "/logs/filter", logs={"flow_run_id": {"any_": [run_id]}})]

    def pids_of(self, run_id):
        """The processes that run a flow run: those whose environment names it."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdecimal() and run_id.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def kill_run(self, run_id, sign=signal.SIGKILL):
        """End a flow run's own processes, as a machine that goes away does."""
        for pid in self.pids_of(run_id):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)

    def until(self, condition, *, seconds=90.0, what=None):
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                logs = "\n".join(f"{path}\n{path.read_text()[-4000:]}" for path in self.home.glob("*.log"))
                raise AssertionError(f"not within {seconds} s: {what() if what else condition}\n{logs}")
            time.sleep(0.25)
        return value


@contextmanager
def running_prefect(flows, **environment):
    """A whole Prefect with these flows in its folder; nothing of it is left when the block ends."""
    import shutil

    home = Path(tempfile.mkdtemp(prefix="tuneway-prefect-real-"))
    shutil.copy(flows, home / "flows.py")
    prefect = Prefect(home, environment)
    try:
        prefect.up()
        yield prefect
    finally:
        prefect.down()
        shutil.rmtree(home, ignore_errors=True)
