"""The engines, each with a database or a server of its own that outlives the processes of its runs."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from importlib.util import find_spec

from support.parity.order import Order
from support.parity.runners import PATIENCE, TESTS, CommandLine, Plain, Program, Runner, own_environment
from support.stack import Stack, free_port


class AirflowRunner(Program):
    """The Airflow provider, in a real Airflow."""

    name = "Airflow"
    module = "with_airflow"

    def environment(self) -> dict[str, str]:
        """A database and a folder of DAGs of its own."""
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def cancel(self, order: Order) -> None:
        """What marking the task as failed comes to: its state, and then a signal from its supervisor."""
        with sqlite3.connect(self.home / "airflow.db", timeout=PATIENCE) as database:
            database.execute(
                "UPDATE task_instance SET state = 'failed' WHERE dag_id = ? AND task_id IN ('wait', 'fine_tune')",
                [order.pipeline],
            )
        self._signal(signal.SIGTERM)


class PrefectServer(Stack):
    """A Prefect server without workers."""

    engine = "prefect"

    def up(self) -> None:
        """Start it, and wait until it answers."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/api"
        self.spawn("server", self.command("server", "start", "--port", str(port), "--no-ui", "--no-services"))
        self.until(lambda: self.answers(f"{self.url}/health"))


class PrefectRunner(Program):
    """The Prefect tasks, with a real Prefect server."""

    name = "Prefect"
    module = "with_prefect"

    _server: PrefectServer | None = None

    def environment(self) -> dict[str, str]:
        """The way to the server, which is started when it is first needed."""
        settings = {
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
        }
        if self._server is None:
            self._server = PrefectServer(self.home, settings)
            self._server.up()
        return settings | {"PREFECT_API_URL": self._server.url}

    def cancel(self, order: Order) -> None:
        """`prefect flow-run cancel`, and what the run's worker does then."""
        run = f"{order.pipeline}/{order.run}"
        self._act("mark", run, order)
        self.kill()
        self._act("cancel", run, order)

    def close(self) -> None:
        """The server too."""
        super().close()
        if self._server is not None:
            self._server.down()
            self._server = None

    def _act(self, verb: str, run: str, order: Order) -> None:
        theirs = {"OPENAI_BASE_URL": order.base_url, "PYTHONPATH": str(TESTS)}
        with (self.home / "log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", f"support.parity.{self.module}", verb, run],
                env=own_environment() | self.environment() | theirs,
                stdout=log, stderr=log, timeout=PATIENCE, check=True,
            )  # fmt: skip


class DagsterRunner(Program):
    """The Dagster assets, with an instance that stays."""

    name = "Dagster"
    module = "with_dagster"

    def environment(self) -> dict[str, str]:
        """An instance of its own."""
        return {"DAGSTER_HOME": str(self.home), "DAGSTER_DISABLE_TELEMETRY": "1"}

    def cancel(self, order: Order) -> None:
        """What terminating a run comes to in its process."""
        self._signal(signal.SIGTERM)


ENGINES: dict[str, type[Runner]] = {"airflow": AirflowRunner, "prefect": PrefectRunner, "dagster": DagsterRunner}
INSTALLED = [runner for engine, runner in ENGINES.items() if (found := find_spec(engine)) and found.origin]
RUNNERS: list[type[Runner]] = [Plain, *(INSTALLED or [CommandLine])]
"""Those that are played here. No environment has all engines; the command line is played where there is none."""
