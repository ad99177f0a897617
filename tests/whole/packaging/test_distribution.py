"""What an index would serve: the four packages and nothing else, and it works where there is no engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from tuneway._version import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PACKAGES = {
    "tuneway": "core",
    "tuneway_service": "local_service",
    "airflow_tuneway": "airflow_provider",
    "prefect_tuneway": "prefect_tasks",
    "dagster_tuneway": "dagster_assets",
}
ENTRY_POINTS = {
    "console_scripts": {"tuneway": "tuneway.cli:main"},
    "tuneway.commands": {
        "serve": "tuneway_service.commands.serve:serve",
        "export": "tuneway_service.commands.export:export",
    },
    "apache_airflow_provider": {"provider_info": "airflow_tuneway.provider_info:get_provider_info"},
    "airflow.plugins": {"tuneway": "airflow_tuneway.plugin:TunewayPlugin"},
    "prefect.collections": {"prefect_tuneway": "prefect_tuneway"},
    "dagster_dg_cli.registry_modules": {"dagster_tuneway": "dagster_tuneway"},
}
# What stands at the top of the source distribution: all of the repository but what only its CI needs.
SDIST = {
    *PACKAGES.values(),
    *("bench", "docs", "examples", "scripts", "tests"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
    *("Makefile", "mkdocs.yml", "noxfile.py", "pyproject.toml", "PKG-INFO"),
    *(".editorconfig", ".gitignore", ".pre-commit-config.yaml"),
}
LARGEST_FILE = 500_000
INFO = f"tuneway-{__version__}.dist-info"


def run(*command: str | Path) -> str:
    """What the command prints; its complaints are the test's, if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def uv(*arguments: str | Path) -> None:
    """Run uv: the one that runs these tests, the Makefile's, or the one on the PATH."""
    ours = ROOT / ".tools" / "bin" / "uv"
    program = os.environ.get("UV") or (str(ours) if ours.exists() else shutil.which("uv"))
    assert program, "these tests build with uv, and there is none: `make test` brings it into .tools/"
    run(program, *arguments)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, and the wheel that is built from it, as an index would serve them."""
    place = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--out-dir", place)
    return place


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (path,) = dist.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that holds the wheel and what it requires, as locked: no extra."""
    place = tmp_path_factory.mktemp("alone")
    python = place / "env" / "bin" / "python"
    locked = place / "locked.txt"
    uv("export", "-q", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "-o", locked)
    uv("venv", "--quiet", "--no-project", "--python", sys.executable, place / "env")
    uv("pip", "install", "--quiet", "--python", python, "--constraints", locked, wheel)
    return python


def test_the_wheel_holds_the_five_packages_to_the_last_file_and_nothing_else(wheel: Path):
    expected = {
        str(path.relative_to(ROOT / root))
        for package, root in PACKAGES.items()
        for path in (ROOT / root / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(INFO)}
    assert names == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_the_metadata_is_what_an_index_accepts(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        metadata = Metadata.from_email(archive.read(f"{INFO}/METADATA"), validate=True)
        entry_points = ConfigParser()
        entry_points.optionxform = str  # type: ignore[assignment,method-assign]
        entry_points.read_string(archive.read(f"{INFO}/entry_points.txt").decode())
        assert f"{INFO}/licenses/LICENSE" in archive.namelist()
    assert parse_wheel_filename(wheel.name)[:2] == ("tuneway", metadata.version)
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.description_content_type == "text/markdown"
    assert metadata.description == (ROOT / "README.md").read_text()
    assert {section: dict(entry_points[section]) for section in entry_points.sections()} == ENTRY_POINTS


def test_an_index_takes_both_and_can_show_the_readme(wheel: Path, sdist: Path):
    pytest.importorskip("twine", reason="uv sync --group release")
    run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", wheel, sdist)


def test_the_source_distribution_brings_its_tests_and_no_litter(sdist: Path):
    assert parse_sdist_filename(sdist.name)[0] == "tuneway"
    with tarfile.open(sdist) as archive:
        files = {one.name.partition("/")[2]: one for one in archive.getmembers() if one.isfile()}
    assert {name.partition("/")[0] for name in files} == SDIST
    assert {"tests/conftest.py", "docs/index.md", "core/tuneway/py.typed"} <= files.keys()
    litter = (".pyc", ".log", ".so", ".whl", ".safetensors")
    assert [name for name in files if name.endswith(litter) or "__pycache__" in name] == []
    assert [name for name, one in files.items() if one.size > LARGEST_FILE] == []


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import tuneway
assert "site-packages" in tuneway.__file__, tuneway.__file__
first = set(sys.modules)
for module in pkgutil.walk_packages(tuneway.__path__, "tuneway."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
print(*sorted(first & {"typer", "rich", "numpy", "starlette"}))
print(*sorted({"airflow", "prefect", "dagster"} & set(sys.modules)))
"""


def test_the_wheel_alone_imports_with_no_engine_present(alone: Path):
    for engine in ("airflow", "prefect", "dagster"):
        found = run(alone, "-c", f"from importlib.util import find_spec; print(find_spec('{engine}'))")
        assert found == "None\n"
    heavy, engines = run(alone, "-I", "-W", "error", "-c", IMPORT_EVERYTHING).splitlines()
    assert heavy == "", "import tuneway is light"
    assert engines == ""


def test_the_command_of_the_wheel_answers(alone: Path):
    told = run(alone.with_name("tuneway"), "--help")
    assert "validate" in told
    assert "OPENAI_BASE_URL" in told


def test_the_version_is_said_in_one_place(alone: Path):
    said = [
        path.relative_to(ROOT)
        for root in PACKAGES.values()
        for path in (ROOT / root).rglob("*.py")
        if re.search(rf"__version__ *=|['\"]{re.escape(__version__)}['\"]", path.read_text(encoding="utf-8"))
    ]
    assert said == [Path("core/tuneway/_version.py")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert run(alone.with_name("tuneway"), "--version") == f"tuneway {__version__}\n"
