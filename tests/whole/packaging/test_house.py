"""The floors of the house: an import only ever points down, and each engine is met in its wrapper alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CORE = ROOT / "core" / "tuneway"

# From the ground up. A module imports from its own floor or from those below.
FLOORS = [
    {"_lazy", "_version", "_words"},
    {"errors", "models"},
    {"calls", "dialects", "progress"},
    {"flows", "dataset"},
    {"drivers"},
    {"watcher", "client", "registry", "report", "steps"},
    {"cli"},
]
FLOOR = {module: number for number, floor in enumerate(FLOORS) for module in floor}

WRAPPERS = {
    "airflow": ROOT / "airflow_provider" / "airflow_tuneway",
    "prefect": ROOT / "prefect_tasks" / "prefect_tuneway",
    "dagster": ROOT / "dagster_assets" / "dagster_tuneway",
}

# Who may import what that isn't ours. What an extra brings is imported where it is needed, and nowhere else.
# httpcore and pydantic_core are the lower halves of httpx and pydantic, which bring the ones that fit.
EVERYWHERE = {"httpx", "pydantic", "pydantic_core", "tenacity"}
ONLY_IN = {
    "cli": {"click", "rich", "typer"},
    "dataset": {"splintr"},
    "drivers": {"httpcore"},
    "registry": {"mlflow"},
    "report": {"resvg_py"},
}


def sources(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below this one, but for what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from at_run_time(child)


def imports(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Every import in a file, those inside functions too, as (line, absolute name)."""
    parents = [package.name, *path.relative_to(package).parent.parts]
    for node in at_run_time(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == package.name and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) + 1 - node.level] if node.level else []
            yield node.lineno, ".".join([*above, *filter(None, [node.module])])


def inner_imports() -> Iterator[tuple[str, str, str]]:
    """(where, module, imported module) for each import of one of the core's modules by another."""
    for path in sources(CORE):
        here = path.relative_to(CORE).with_suffix("").parts[0]
        for line, name in imports(path, CORE):
            ours, _, rest = name.partition(".")
            there = rest.split(".")[0]
            if ours == "tuneway" and there and there != here:
                yield f"{path.relative_to(ROOT)}:{line}", here, there


def test_every_module_of_the_core_has_its_floor():
    modules = {path.relative_to(CORE).with_suffix("").parts[0] for path in sources(CORE)}
    assert modules - FLOOR.keys() - {"__init__", "__main__"} == set(), "give it a floor, in FLOORS above"


def test_imports_in_the_core_only_point_down():
    upwards = [
        f"{where}: {here} imports {there}, a floor above"
        for where, here, there in inner_imports()
        if here in FLOOR and there in FLOOR and FLOOR[there] > FLOOR[here]
    ]
    assert upwards == []


def test_no_two_modules_of_the_core_need_each_other():
    graph: dict[str, set[str]] = {}
    for _, here, there in inner_imports():
        graph.setdefault(here, set()).add(there)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_core_imports_what_it_declares_and_no_engine():
    strangers = []
    for path in sources(CORE):
        here = path.relative_to(CORE).with_suffix("").parts[0]
        allowed = sys.stdlib_module_names | {"tuneway"} | EVERYWHERE | ONLY_IN.get(here, set())
        strangers += [
            f"{path.relative_to(ROOT)}:{line}: {name}"
            for line, name in imports(path, CORE)
            if name.split(".")[0] not in allowed
        ]
    assert strangers == []


@pytest.mark.parametrize("engine", WRAPPERS)
def test_a_wrapper_imports_its_own_engine_and_no_other_wrapper(engine: str):
    package = WRAPPERS[engine]
    others = {name for other, path in WRAPPERS.items() if other != engine for name in (other, path.name)}
    strangers = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources(package)
        for line, name in imports(path, package)
        if name.split(".")[0] in others
    ]
    assert strangers == []
