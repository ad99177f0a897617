# /// script
# requires-python = ">=3.11"
# dependencies = ["playwright>=1.50", "httpx>=0.28"]
# ///
"""Take the pictures of the documentation anew: `python scripts/pictures.py prefect dagster service`.

It needs Chromium (`CHROMIUM`, /usr/bin/chromium if unset), Playwright, and the environments that `make demo
ENGINE=…` makes. Each picture shows a real run of an example: the script starts the local service and the engine's own
server, runs the example once, and looks at the pages.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from playwright.sync_api import Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parents[1]
IMAGES = HERE / "docs" / "images"
DATA = HERE / "examples" / "data"


class Stage:
    """A folder, the local service in it, and the processes that end with it."""

    def __init__(self, engine: str, until: ExitStack) -> None:
        self.bin = HERE / (f".venv-{engine}" if engine else ".venv") / "bin"
        self.home = Path(until.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        self._until = until
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        shutil.copytree(DATA, self.home / DATA.name)
        port = free_port()
        self.service = f"http://127.0.0.1:{port}"
        self.environment |= {
            "OPENAI_BASE_URL": f"{self.service}/v1",
            "TUNEWAY_REGISTRY_URI": f"sqlite:///{self.home}/registry.db",
            "SUPPORT_DATA": DATA.name,
        }
        self.start(
            "tuneway", "serve", "--model", "gpt-4o-mini=bytes", "--data-dir", self.home / "service", "--port", port
        )
        answers(f"{self.service}/healthz")

    def start(self, *command: object, **environment: str) -> None:
        """Run a program until the pictures are taken."""
        process = subprocess.Popen(
            [self.bin / str(command[0]), *map(str, command[1:])],
            env=self.environment | environment, cwd=self.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._until.callback(process.wait)
        self._until.callback(process.terminate)

    def run(self, *command: object, **environment: str) -> None:
        """Run a program to its end."""
        subprocess.run(
            [self.bin / str(command[0]), *map(str, command[1:])],
            env=self.environment | environment, cwd=self.home, check=True,
        )  # fmt: skip


def prefect(stage: Stage, page: Page) -> None:
    """A flow run, and the artifact of its training."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    stage.environment |= {
        "PREFECT_HOME": str(stage.home), "PREFECT_API_URL": api, "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    stage.start("prefect", "server", "start", "--port", port)
    answers(f"{api}/health")
    stage.run("python", HERE / "examples" / "prefect" / "nightly.py")
    (run,) = httpx.post(f"{api}/flow_runs/filter", json={}).raise_for_status().json()
    artifacts = httpx.post(f"{api}/artifacts/filter", json={}).raise_for_status().json()
    (training,) = [one["id"] for one in artifacts if one["key"].endswith("-training")]
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="dark")
    picture(page, f"http://127.0.0.1:{port}/runs/flow-run/{run['id']}", "prefect-run", settle=12)
    picture(page, f"http://127.0.0.1:{port}/artifacts/artifact/{training}", "prefect-training", settle=6)


def dagster(stage: Stage, page: Page) -> None:
    """The assets of a model, and the curve among the metadata of one."""
    port = free_port()
    stage.environment |= {"DAGSTER_HOME": str(stage.home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    example = HERE / "examples" / "dagster" / "support_router.py"
    (stage.home / "dagster.yaml").write_text("nux:\n  enabled: false\n")  # no greeting above the page
    stage.run("dagster", "asset", "materialize", "--select", "*", "-f", example)
    stage.start("dagster-webserver", "-f", example, "-p", port)
    here = f"http://127.0.0.1:{port}"
    answers(f"{here}/server_info")
    page.set_viewport_size({"width": 1500, "height": 417})
    picture(
        page,
        f"{here}/locations/__repository__@{example.name}/asset-groups/support_router/lineage",
        "dagster-assets",
        settle=10,
    )
    page.set_viewport_size({"width": 1500, "height": 757})
    page.goto(f"{here}/assets/support_router/fine_tuned_model?view=events")
    page.get_by_text("[Show Markdown]").first.click(timeout=30_000)
    picture(page, None, "dagster-loss", settle=3)


def service(stage: Stage, page: Page) -> None:
    """The page of a job."""
    run = ["--model", "gpt-4o-mini", "--epochs", "5", "--suffix", "support-routing", "--name", "support-routing"]
    train, valid = DATA / "support_train.jsonl", DATA / "support_valid.jsonl"
    stage.run("tuneway", "run", train, "--validation-data", valid, *run)
    (job,) = httpx.get(f"{stage.service}/v1/fine_tuning/jobs").raise_for_status().json()["data"]
    page.set_viewport_size({"width": 1180, "height": 1180})
    picture(page, f"{stage.service}/jobs/{job['id']}", "service-job", settle=2)


def picture(page: Page, url: str | None, name: str, *, settle: float) -> None:
    """Show a page, and keep what is seen once it has drawn itself."""
    if url is not None:
        page.goto(url)
    page.wait_for_timeout(settle * 1000)
    page.screenshot(path=IMAGES / f"{name}.png")
    print(f"{IMAGES / name}.png")


def answers(url: str) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"{url} doesn't answer")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium."""
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def main() -> None:
    """Take the pictures that are asked for."""
    takes = {"prefect": prefect, "dagster": dagster, "service": service}
    for name in sys.argv[1:] or takes:
        with browser() as chromium, ExitStack() as until:
            takes[name](Stage("" if name == "service" else name, until), chromium.new_page())


if __name__ == "__main__":
    main()
