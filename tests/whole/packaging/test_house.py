"""The order of the source: who may import whom, no circles, and each class name once.

The tables here are the rules for the product. What breaks a rule is found by `tests/support/house.py`;
`test_house_rules.py` shows that it does find it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.house import (
    Package,
    circles,
    doubled_classes,
    escaping,
    forbidden_imports,
    forbidden_names,
    part_of,
    paths_of_ids,
    same_package_and_part,
    tree_of,
    upward_imports,
)
from support.source_tree import SourceTree

ROOT = Path(__file__).parents[3]
OF_THE_CORE = frozenset({"tuneway"})

# What an extra brings is imported in one part alone. httpcore and pydantic_core are the lower halves of httpx and
# pydantic, and anyio comes with httpx: each of these brings the version that fits.
CORE = Package(
    ROOT / "core" / "tuneway",
    others=frozenset({"httpx", "pydantic", "pydantic_core", "tenacity"}),
    others_in={
        "cli": frozenset({"rich", "typer"}),
        "data": frozenset({"fsspec", "narwhals", "pyarrow"}),
        "dataset": frozenset({"splintr"}),
        "dialects": frozenset({"azure"}),
        "drivers": frozenset({"anyio", "httpcore"}),
        "registry": frozenset({"mlflow", "sqlalchemy"}),
        "report": frozenset({"resvg_py"}),
    },
)
TRAINING = {"bitsandbytes", "gguf", "jinja2", "peft", "safetensors", "tokenizers", "torch", "transformers", "trl"}
SERVICE = Package(
    ROOT / "local_service" / "tuneway_service",
    ours=OF_THE_CORE,
    others=frozenset(
        {"anyio", "fsspec", "h11", "httpx", "jsonschema", "numpy", "pydantic", "pydantic_core", "referencing"}
    )
    | {"python_multipart", "starlette", "uvicorn", "wandb"},
    others_in={
        "answers": frozenset({"xllamacpp"}),
        "commands": frozenset({"typer"}),
        "executors": frozenset({"ray"}),
        "trainers": frozenset(TRAINING | {"tenacity"}),
    },
)
# A wrapper may import its engine, and what its engine brings.
AIRFLOW = Package(
    ROOT / "airflow_provider" / "airflow_tuneway",
    ours=OF_THE_CORE,
    others=frozenset({"airflow", "opentelemetry"}),
    others_in={"_pages": frozenset({"fastapi", "sqlalchemy"}), "_threads": frozenset({"asgiref"})},
)
PREFECT = Package(
    ROOT / "prefect_tasks" / "prefect_tuneway", ours=OF_THE_CORE, others=frozenset({"prefect", "pydantic"})
)
DAGSTER = Package(
    ROOT / "dagster_assets" / "dagster_tuneway", ours=OF_THE_CORE, others=frozenset({"dagster", "pydantic"})
)
PACKAGES = [CORE, SERVICE, AIRFLOW, PREFECT, DAGSTER]

# The parts of the core, from the ground up. A part imports from its own floor or from those below.
FLOORS = [
    {"_escape", "_folders", "_hiding", "_lazy", "_version", "_words"},
    {"choices", "errors", "models"},
    {"calls", "data", "progress", "recipe", "requester"},
    {"flows", "dataset"},
    {"dialects"},
    {"drivers", "steps"},
    {"watcher", "client", "outcome", "registry", "report"},
    {"cli"},
]

each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


@pytest.fixture(scope="module")
def product() -> SourceTree:
    return tree_of(PACKAGES, ROOT)


@each_package
def test_a_package_imports_only_what_it_may(product, package):
    assert list(forbidden_imports(product, package)) == []


@each_package
def test_no_string_names_a_module_that_may_not_be_imported(product, package):
    assert list(forbidden_names(product, package)) == []


def test_every_part_of_the_core_has_its_floor(product):
    parts = {part_of(source.module) for source in product if source.package == CORE.name}
    assert parts - {""} == set().union(*FLOORS), "keep FLOORS above up to date"


def test_imports_in_the_core_only_point_down(product):
    assert list(upward_imports(product, CORE, FLOORS)) == []


def test_no_two_parts_of_a_package_need_each_other(product):
    assert circles(product, same_package_and_part) == []


def test_no_two_files_need_each_other(product):
    assert circles(product) == []


def test_no_class_name_stands_twice(product):
    assert doubled_classes(product) == {}


def test_no_class_name_stands_twice_among_the_helpers_of_tests():
    tests = ROOT / "tests"
    assert doubled_classes(SourceTree(tests / "support", root=tests)) == {}


@pytest.mark.parametrize("package", [CORE, AIRFLOW, PREFECT, DAGSTER], ids=lambda package: package.name)
def test_no_id_and_no_name_becomes_a_part_of_a_path_as_it_is(product, package):
    assert list(paths_of_ids(product, package, safe="file_name")) == []


def test_text_is_escaped_by_the_functions_of_one_module(product):
    assert list(escaping(product, "tuneway._escape")) == []
