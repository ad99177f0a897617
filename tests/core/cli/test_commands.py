"""Commands that other packages add, by the entry points `tuneway.commands`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.console import error_of

from tuneway.cli._exits import ExitCode

HELLO = '''
"""A package that adds a command."""

from typing import Annotated

import typer

from tuneway.cli._output import Output


def hello(name: Annotated[str, typer.Argument(help="Whom to greet.")], *, output: Output) -> None:
    """Greet somebody by name.

    Examples:
        tuneway hello world
    """
    output.record({"hello": name}) if output.json else output.result(f"hello {name}")


def late() -> None:
    """Import something only when it runs."""
    import tuneway_no_such_module
'''


@pytest.fixture
def built():
    """The commands of other packages are looked for anew in each call."""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with these commands, as pip leaves one."""
    place = tmp_path / "site"

    def install(package: str, source: str, **commands: str) -> None:
        place.mkdir(exist_ok=True)
        (place / f"{package}.py").write_text(source)
        info = place / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {package}:{function}\n" for name, function in commands.items())
        (info / "entry_points.txt").write_text(f"[tuneway.commands]\n{lines}")
        monkeypatch.syspath_prepend(place)

    return install


def test_a_package_adds_a_command_with_help_and_options_like_any_other(tuneway, install):
    install("greetings", HELLO, hello="hello")
    text = tuneway("--help").stdout
    assert "─ More ─" in text
    assert "Greet somebody by name." in text
    assert tuneway("hello", "you").stdout == "hello you\n"
    assert tuneway("hello", "you", "--json").stdout == '{"hello": "you"}\n'
    told = tuneway("hello", "--help").stdout
    assert "tuneway hello world" in told.partition("─ Examples ─")[2]
    assert "--json" in told
    assert error_of(tuneway("hello", "--json", code=ExitCode.USAGE))["type"] == "InvalidInput"


def test_a_mistyped_command_of_a_package_is_recognised(tuneway, install):
    install("greetings", HELLO, hello="hello")
    assert "Did you mean 'hello'?" in tuneway("helo", code=ExitCode.USAGE).stderr


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import tuneway_no_such_module", "`tuneway broken` needs tuneway_no_such_module, which isn't installed"),
        ("raise RuntimeError('too old')", "`tuneway broken` can't be loaded: RuntimeError: too old"),
        ("", "`tuneway broken` can't be loaded: AttributeError: "),
    ],
)
def test_a_command_that_can_not_be_imported_says_why_and_does_not_stop_the_others(tuneway, install, source, told):
    install("lame", source, broken="broken")
    install("greetings", HELLO, hello="hello")
    result = tuneway("broken", "with", "--any", "words", code=ExitCode.ERROR)
    assert result.stderr.startswith(f"error: {told}")
    assert "comes from the package lame" in result.stderr
    assert tuneway("hello", "you").stdout == "hello you\n"
    text = tuneway("--help").stdout
    assert all(word in text for word in ("broken", "hello", "lineage"))


def test_a_command_that_lacks_something_when_it_runs_says_what(tuneway, install):
    install("greetings", HELLO, late="late")
    result = tuneway("late", code=ExitCode.ERROR)
    assert result.stderr.startswith("error: `tuneway late` needs tuneway_no_such_module, which isn't installed\n")
    assert "comes from the package greetings" in result.stderr


def test_no_package_can_replace_a_command_of_this_one(tuneway, install, service):
    install("impostor", HELLO, list="hello")
    assert "job" in tuneway("list").stdout
    assert "Greet" not in tuneway("--help").stdout


@pytest.mark.parametrize("module", ["starlette", "uvicorn", "tuneway_service"])
def test_without_the_extra_the_service_says_what_to_install(module):
    program = f"import sys; sys.modules[{module!r}] = None; from tuneway.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--port", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (ExitCode.ERROR, ExitCode.USAGE)
    needed, advice = done.stderr.splitlines()
    missing = {module, *(name for name in ("starlette", "uvicorn") if find_spec(name) is None)}
    assert any(f"needs {name}" in needed for name in missing)
    assert needed.endswith(", which isn't installed")
    assert "pip install 'tuneway[local]'" in advice


def test_other_packages_are_looked_for_only_when_that_is_needed(tuneway, service, monkeypatch):
    """To read the entry points of an engine's environment takes some 40 ms, a quarter of the start."""
    asked: list[str] = []

    def entry_points(*, group):
        asked.append(group)
        return ()

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    for words in (["--version"], ["list"], ["list", "--help"]):
        tuneway(*words)
    tuneway("show", code=ExitCode.USAGE)
    assert asked == []
    tuneway("--help")
    assert asked == ["tuneway.commands"]
    tuneway("serve", code=ExitCode.USAGE)
    assert len(asked) == 2
