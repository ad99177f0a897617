"""Help teaches, fast."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tuneway import __version__
from tuneway.cli._app import PANELS, app
from tuneway.cli._exits import ExitCode

ROOT: Any = typer.main.get_command(app)

COMMANDS = list(ROOT.commands)


def help_of(*words: str) -> str:
    result = CliRunner(env={"COLUMNS": "160", "TERMINAL_WIDTH": "160"}).invoke(
        app, [*words, "--help"], prog_name="tuneway"
    )
    assert result.exit_code == 0
    return result.stdout


def test_the_root_lists_every_command_in_its_panel_with_its_purpose():
    text = help_of()
    for panel in (*PANELS, "Service"):
        assert f"─ {panel} ─" in text
    for name in COMMANDS:
        assert any(line.strip("│ ").startswith(f"{name} ") for line in text.splitlines()), name


def test_the_root_tells_of_the_environment_and_of_every_exit_code():
    text = help_of()
    for word in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "TUNEWAY_REGISTRY_URI"):
        assert word in text
    told = {line.strip("│ ").split(" ")[0] for line in text.splitlines()} | {"141", "143"}
    assert {str(int(code)) for code in ExitCode} <= told


def test_no_arguments_print_the_help():
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    assert "Usage: tuneway" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_purpose_that_fits_a_line_and_an_example(name):
    text = help_of(name)
    examples = text.partition("─ Examples ─")[2]
    assert f"tuneway {name}" in examples
    command = ROOT.commands[name]
    purpose = (command.help or "").splitlines()[0]
    assert 15 < len(purpose) <= 82, purpose
    assert purpose.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_takes_the_key_of_the_service(name):
    options = {option for param in ROOT.commands[name].params for option in param.opts}
    assert not {option for option in options if "key" in option} - {"--key"}
    if "--base-url" in options:
        assert {"--organization", "--project", "--request-timeout", "--dialect", "--api-version"} <= options
        assert "--service-option" in options


def test_the_version_is_told():
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout == f"tuneway {__version__}\n"


def test_help_loads_nothing_that_only_work_needs():
    check = """
import sys
sys.argv = ["tuneway", "--help"]
import atexit, tuneway.cli
heavy = {"httpx", "tuneway.models", "tenacity", "numpy", "starlette", "uvicorn", "sqlite3", "mlflow", "splintr"}
atexit.register(lambda: print("loaded:", sorted(heavy & set(sys.modules))))
tuneway.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")
