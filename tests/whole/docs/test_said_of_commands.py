"""The pages name every command and every option of the service that there is, and none that there isn't."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from tuneway.cli._app import app
from tuneway.cli._exits import MEANINGS

DOCS = Path(__file__).parents[3] / "docs"
COMMANDS = typer.main.get_group(app).commands

OTHER_PROGRAMS = r".*pip install|(vllm|llama-server|ollama) "


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def options(command):
    return {word for parameter in COMMANDS[command].params for word in parameter.opts if word.startswith("--")}


def test_every_command_is_on_the_command_lines_page():
    text = page("guides/command-line.md")
    named = set(re.findall(r"tuneway ([a-z]+)", text)) | set(re.findall(r"`([a-z]+)`", text))
    assert COMMANDS.keys() - named == set()


def test_commands_that_pages_name_exist():
    shown = {
        name
        for path in DOCS.rglob("*.md")
        for name in re.findall(r"^\s*tuneway ([a-z]+)", path.read_text(), re.MULTILINE)
    }
    assert shown - COMMANDS.keys() == set()


def test_every_option_of_the_service_is_on_its_page():
    text = page("guides/service.md")
    assert [word for word in sorted(options("serve") - {"--help"}) if word not in text] == []


def test_options_that_pages_name_exist():
    known = {word for command in COMMANDS for word in options(command)} | {"--no-register", "--help", "--json"}
    for name in (
        "guides/command-line.md",
        "guides/service.md",
        "guides/ray.md",
        "guides/moving.md",
        "guides/operations.md",
        "tutorial/quick-start.md",
        "explanation/security.md",
    ):
        ours = "\n".join(line for line in page(name).splitlines() if not re.match(OTHER_PROGRAMS, line))
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", ours)) - known == set(), name


def test_exit_codes_are_as_the_page_says():
    told = {
        int(code)
        for row in re.findall(r"^\| ([\d, ]+) \|", page("guides/command-line.md"), re.MULTILINE)
        for code in row.split(",")
    }
    assert {int(code) for code in MEANINGS} <= told
