"""Pipelines are parsed far more often than they run: importing must stay light."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

import tuneway
import tuneway.client
import tuneway.dataset

HEAVY = {
    "airflow", "dagster", "numpy", "openai", "pandas", "prefect", "rich", "starlette", "torch", "typer", "uvicorn",
    "wandb", "mlflow", "sqlalchemy",
}  # fmt: skip
AT_USE = {"httpx", "pydantic", "tenacity"}
# waits until a client is made, an async one is asked for, a file is checked, a model registered, or there is news
LATER = {
    "anyio", "asyncio", "httpcore", "tuneway.client._async", "tuneway.dataset", "tuneway.progress._news",
    "tuneway.registry",
}  # fmt: skip
BRING = "import httpx, pydantic, tenacity"  # what they bring is theirs: httpx loads rich, where there is one


@functools.cache
def imported_by(statement: str) -> set[str]:
    """The packages and modules that a statement loads, in an interpreter of its own."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    # -S would hide the packages; -I keeps the caller's folder and variables out
    result = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("statement", "without"),
    [
        ("import tuneway", HEAVY | AT_USE),
        ("from tuneway import Client, JobSpec", HEAVY | LATER),
        ("from tuneway import Client, AsyncClient, JobSpec", HEAVY),
        ("from tuneway import *", HEAVY),
        ("from tuneway import Client; Client(base_url='http://localhost').close()", HEAVY),
        ("import tuneway.errors", HEAVY | AT_USE),
    ],
)
def test_importing_loads_no_more_than_it_needs(statement, without):
    allowed = imported_by(BRING) if AT_USE.isdisjoint(without) else set()
    assert imported_by(statement) & without - allowed == set()


@pytest.mark.parametrize("package", [tuneway, tuneway.client, tuneway.dataset], ids=lambda package: package.__name__)
def test_each_exported_name_is_listed_once(package):
    names = [name for home in package._HOMES.values() for name in home]
    assert sorted(names) == sorted(set(package.__all__) - {"__version__"})
    assert len(package.__all__) == len(set(package.__all__))


def test_the_other_modules_are_noticed_when_they_are_loaded():
    assert imported_by("import typer, rich") >= {"typer", "rich"}
    later = "import tuneway.registry, tuneway.dataset; from tuneway import AsyncClient; "
    made = "AsyncClient(base_url='http://localhost'); from tuneway.progress import Logged"
    assert imported_by(later + made) >= LATER, "a name above is misspelt, or has moved"
