"""The command line against a service that trains at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer.testing
from support.console import write
from support.fault_server import FaultServer
from support.quick_service import QuickService
from typer.main import get_command
from typer.testing import CliRunner

from tuneway.cli._app import app
from tuneway.drivers import Driver


@pytest.fixture
def server():
    """The service behind a socket."""
    with FaultServer(QuickService()) as server:
        yield server


@pytest.fixture
def service(server):
    """The service itself."""
    return server.service


@pytest.fixture
def trained(service):
    """The id of a job that has been trained."""
    service.add_job()
    service.train("ftjob-1")
    return "ftjob-1"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    """No pause between attempts, nor between a create and the look after it."""
    monkeypatch.setitem(Driver.__init__.__kwdefaults__, "sleep", lambda _seconds: None)


@pytest.fixture
def train(here):
    """A good training file."""
    return write(here / "train.jsonl", 20)


@pytest.fixture(scope="session")
def built() -> Any:
    """The commands, built once; typer's runner builds all of them for each call. None: as the runner does it."""
    return get_command(app)


@pytest.fixture
def tuneway(server, here, monkeypatch, built):
    """Runs a command in this process, and expects an exit code."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object, code: int = 0, stdin: str | None = None) -> Any:
        with monkeypatch.context() as patch:
            if built is not None:
                patch.setattr(typer.testing, "_get_command", lambda _app: built)
            result = CliRunner().invoke(app, [str(word) for word in words], input=stdin, prog_name="tuneway")
        assert result.exit_code == code, f"exit code {result.exit_code}:\n{result.output}"
        return result

    return run
