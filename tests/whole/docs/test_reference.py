"""The reference documents public names, all of them, and none that is private."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import typer

from tuneway.cli._app import app
from tuneway.dataset import RULES

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
SOURCES = [ROOT / name for name in ("core", "airflow_provider", "prefect_tasks", "dagster_assets")]
MODULES = "tuneway", "airflow_tuneway", "prefect_tuneway", "dagster_tuneway"
PRIVATE = re.compile(rf"\b(?:{'|'.join(MODULES)})(?:\.\w+)*\._\w+")

# Packages of which everything is documented that they export, and what of it isn't.
COMPLETE = {
    "tuneway": {"__version__"},
    "tuneway.client": {f"Async{name}" for name in ("Checkpoints", "Files", "Graders", "Jobs", "Models", "Uploads")}
    | {"AsyncPermissions"},
    "tuneway.dataset": {"PRICES_AS_OF", "USD_PER_MILLION_TRAINED_TOKENS", "RULES"},
    "tuneway.progress": set(),
    "tuneway.registry": {"CHALLENGER", "CHAMPION", "PREVIOUS"},
    "tuneway.report": set(),
    "airflow_tuneway.operators": set(),
    "prefect_tuneway": {"__version__"},
    "dagster_tuneway": set(),
}


def documented(text):
    """What the directives of a page name: modules, or objects in them."""
    return re.findall(r"^::: (\S+)$", text, re.MULTILINE)


def private(text):
    """Private names on a page: in directives, in their options, in the text."""
    members = re.findall(r"members: \[(.*)\]", text)
    listed = [name for names in members for name in names.split(", ")]
    return [*PRIVATE.findall(text), *(name for name in listed if name.startswith("_"))]


def source(module):
    """A module's file: engines aren't installed everywhere, so it is read and not imported."""
    parts = Path(*module.split("."))
    places = [path for root in SOURCES for path in (root / parts / "__init__.py", root / parts.with_suffix(".py"))]
    return next((path for path in places if path.exists()), None)


def exported(module):
    """What a module exports: `__all__`, else what it defines under public names."""
    body = ast.parse(source(module).read_text(encoding="utf-8")).body
    defined = set()
    for line in body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", line)]
        names = {getattr(target, "id", getattr(target, "name", None)) for target in targets}
        if "__all__" in names:
            return set(ast.literal_eval(line.value))
        defined |= {name for name in names if name and not name.startswith("_")}
    return defined


def is_public(path):
    if any(part.startswith("_") for part in path.split(".")):
        return False
    if source(path) is not None:
        return True
    module, _, name = path.rpartition(".")
    return source(module) is not None and name in exported(module)


ON_PAGES = {path for page in PAGES for path in documented(page.read_text(encoding="utf-8"))}
WHOLE = {path for path in ON_PAGES if source(path)}  # modules that are documented as one


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_anything_private(page):
    text = page.read_text(encoding="utf-8")
    assert private(text) == []
    assert [path for path in documented(text) if not is_public(path)] == []


@pytest.mark.parametrize("module", COMPLETE)
def test_everything_that_a_package_exports_is_documented(module):
    names = exported(module) - COMPLETE[module]
    awaited = {name for name in names if module == "prefect_tuneway" and name[0] == "a" and name[1:] in names}
    shown = {path.rpartition(".")[2] for path in ON_PAGES - WHOLE if path.startswith(module.partition(".")[0])}
    shown |= {name for path in WHOLE for name in exported(path)}
    assert names - awaited - shown == set()


@pytest.mark.parametrize(
    "text",
    [
        "::: tuneway.client._sync.Client",
        "::: prefect_tuneway._data\n    options:\n      members: [upload_training_file]",
        "::: tuneway.client\n    options:\n      members: [Client, _Private]",
        "see `airflow_tuneway.operators._create`",
    ],
)
def test_a_private_name_would_be_noticed(text):
    assert private(text)


@pytest.mark.parametrize("path", ["tuneway.client.Nothing", "tuneway.client._sync.Client", "tuneway.nowhere.Client"])
def test_a_name_that_is_not_exported_would_be_noticed(path):
    assert not is_public(path)


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "scripts" / "docs_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_command_line_has_every_option_of_every_command(hook):
    page = hook.on_page_markdown((ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8"))
    parts = dict(zip(*[iter(re.split(r"^## tuneway (\S+)$", page, flags=re.MULTILINE)[1:])] * 2, strict=True))
    group = typer.main.get_group(app)
    context = typer.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    assert parts.keys() == commands.keys()
    missing = [
        (name, word)
        for name, command in commands.items()
        for parameter in command.params
        for word in parameter.opts
        if word.startswith("--") and not re.search(rf"(?<![\w-]){word}(?![\w-])", parts[name])
    ]
    assert missing == []


def test_the_page_of_the_data_checks_has_every_rule(hook):
    page = hook.on_page_markdown((ROOT / "docs" / "reference" / "dataset.md").read_text(encoding="utf-8"))
    assert [rule for rule in RULES if f"| `{rule}` |" not in page] == []
