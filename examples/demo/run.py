"""Run an engine's example pipeline once on this machine: `make demo ENGINE=airflow|prefect|dagster`.

It starts the local service, lets the engine run its pipeline in a process of its own, shows the steps and the
training as they go, and asks the model in the end. Everything is kept in `.tuneway/demo-ENGINE`; run it again, and
the job of the first run is adopted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
ENGINES = {
    "airflow": ("Airflow", "an Airflow DAG", "examples/airflow/nightly.py", "support-router"),
    "prefect": ("Prefect", "a Prefect flow", "examples/prefect/nightly.py", "support-router"),
    "dagster": ("Dagster", "Dagster assets", "examples/dagster/support_router.py", "support_router"),
}
ENGINE = sys.argv[1]
os.environ.setdefault("TUNEWAY_DEMO_HOME", str(HERE.parents[1] / ".tuneway" / f"demo-{ENGINE}"))

sys.path.insert(0, str(HERE.parent / "plain"))  # what the plain pipeline has as well

from pipeline import HOME, REGISTRY, TRAIN, VALID, look, service  # noqa: E402

from tuneway import Client, TunewayError  # noqa: E402
from tuneway.progress import Logged, News  # noqa: E402
from tuneway.registry import open_registry  # noqa: E402

LOG = HOME / f"{ENGINE}.log"


class Engine:
    """The engine's process. It reports its steps as lines of JSON; everything else that it prints goes into a log."""

    def __init__(self, base_url: str) -> None:
        told, telling = os.pipe()
        environment = os.environ | {
            "OPENAI_BASE_URL": base_url,
            "TUNEWAY_REGISTRY_URI": REGISTRY,
            "TUNEWAY_DEMO_TELL": str(telling),
            "SUPPORT_DATA": str(TRAIN.parent.resolve()),
        }
        with LOG.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / f"with_{ENGINE}.py")],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[telling],
            )  # fmt: skip
        os.close(telling)
        self.told = os.fdopen(told, encoding="utf-8")

    def follow(self) -> None:
        """Show the steps until the last."""
        for line in self.told:
            news = json.loads(line)
            if "note" in news:
                show(f"   {news['note']}")
            else:
                seconds = f"{news['seconds']:6.1f} s" if "seconds" in news else ""
                show(f"   {news['step']:<24} {news['state']:<10}{seconds}".rstrip())
        if status := self.process.wait():
            sys.exit(f"{ENGINES[ENGINE][0]} did not get to the end (exit status {status}). Its log: {LOG}")

    def end(self) -> None:
        """End the process if it still runs."""
        self.process.terminate()
        self.process.wait()
        self.told.close()


class Training(threading.Thread):
    """Shows a new job's log, with every tenth step, while the engine's own step waits."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.known = {job.id for job in client.jobs.list()}
        self.ended = threading.Event()

    def run(self) -> None:
        """Find the job and follow it."""
        try:
            new, ended = None, False
            while new is None and not ended:
                ended = self.ended.wait(0.3)  # and one more look after that
                new = next((job for job in self.client.jobs.list() if job.id not in self.known), None)
            if new is not None:
                self.client.wait(new.id, on_event=self.tell)
        except TunewayError as error:
            show(f"      {error}")

    def tell(self, news: News) -> None:
        """Show a line of the job's log."""
        if isinstance(news, Logged) and not (news.event.type == "metrics" and news.event.metrics.get("step", 0) % 10):
            show(f"      {news.event.message}")


def show(line: str) -> None:
    """Print a line at once, since two threads print."""
    print(line, flush=True)


def main() -> None:
    """Run it."""
    started = time.monotonic()
    called, what, where, model = ENGINES[ENGINE]
    with ExitStack() as cleaning:
        base_url = cleaning.enter_context(service()) or os.environ["OPENAI_BASE_URL"]
        client = cleaning.enter_context(Client(base_url=base_url))
        show(f"Fine-tuning at {client.base_url}, as {what}: {where}\n")
        training = Training(client)
        training.start()
        engine = Engine(base_url)
        cleaning.callback(engine.end)
        engine.follow()
        training.ended.set()
        training.join()
        version = open_registry(REGISTRY).get(f"{model}@champion")
        job = client.jobs.retrieve(version.record.job_id)
        if job.id in training.known:
            show(f"\n   {job.id} was adopted: an earlier run made it, and nothing is trained or paid for again.")
        show(f"\n   {version.ref} is {', '.join(version.aliases)}: {version.model_id}")
        show(f"   trained by: {version.record.trainer or 'the service does not say'}\n")
        report = client.validate(TRAIN, validation_data=VALID, model="gpt-4o-mini")
        page = look(client, job, version, report)
    show(f"\nDone in {time.monotonic() - started:.1f} s. The report: {page}")
    show(f"All that {called} said: {LOG}")
    show("Next: run it again, and see the job adopted instead of trained again.")


if __name__ == "__main__":
    main()
