"""The blocking client is generated from the awaited one, and checked in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = Path("scripts", "unasync.py")
FOLDER = Path("core", "tuneway", "client")
GENERATED = ["_blocking_operations.py", "_blocking_steps.py", "_sync.py"]


def unasync(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", root / SCRIPT, *options], check=False, capture_output=True, text=True, encoding="utf-8"
    )


@pytest.fixture
def house(tmp_path):
    """A copy of the script and of the client."""
    for part in (SCRIPT.parent, FOLDER):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_blocking_files_are_what_the_script_makes():
    check = unasync(ROOT, "--check")
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


@pytest.mark.parametrize("name", GENERATED)
def test_files_that_were_lost_are_written_again_byte_for_byte(name, house):
    (house / FOLDER / name).unlink()
    assert unasync(house, "--check").returncode == 1
    assert unasync(house).stdout == f"wrote {(FOLDER / name).as_posix()}\n"
    assert (house / FOLDER / name).read_bytes() == (ROOT / FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", GENERATED)
@pytest.mark.parametrize("where", [0, 2000, -1])
def test_one_byte_that_differs_is_noticed_and_its_file_named(name, where, house):
    path = house / FOLDER / name
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    check = unasync(house, "--check")
    assert check.returncode == 1
    assert (FOLDER / name).as_posix() in check.stderr
    assert len(check.stderr.splitlines()) == 1, "the other file is as it should be"
    assert path.read_bytes() == content, "a check writes nothing"


def test_a_method_added_to_the_awaited_client_is_missing_from_the_blocking_one(house):
    source = house / FOLDER / "_async.py"
    source.write_text(source.read_text() + "\n    async def new(self) -> Job:\n        return await self.jobs.new()\n")
    check = unasync(house, "--check")
    assert check.returncode == 1
    assert "_sync.py" in check.stderr
    unasync(house)
    written = (house / FOLDER / "_sync.py").read_text()
    assert written.endswith("\n    def new(self) -> Job:\n        return self.jobs.new()\n")


@pytest.mark.parametrize(
    ("awaited", "named"),
    [
        ("import asyncio", "asyncio"),
        ("x = 1  # what the async one does", "async"),
        ("class MyAsyncThing: ...", "Async"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name_and_nothing_is_written(awaited, named, house):
    source = house / FOLDER / "_async.py"
    source.write_text(source.read_text() + awaited + "\n")
    before = (house / FOLDER / "_sync.py").read_bytes()
    result = unasync(house)
    assert result.returncode == 1
    assert f"_async.py: '{named}' is left in {awaited!r}" in result.stderr
    assert (house / FOLDER / "_sync.py").read_bytes() == before


def test_a_phrase_that_no_source_says_any_more_is_named(house):
    source = house / FOLDER / "_async.py"
    source.write_text(source.read_text().replace("The asyncio client.", "The client that is awaited."))
    result = unasync(house)
    assert result.returncode == 1
    assert "'The asyncio client.'" in result.stderr


@pytest.mark.parametrize(
    ("awaited", "blocking"),
    [
        ("from a import Zebra, AsyncIterator, LIMIT, word", "from a import LIMIT, Iterator, Zebra, word"),
        ("from a import AsyncIterator, Iterator", "from a import Iterator"),
        ("from a import (\n    Callable,\n    AsyncBear,\n)", "from a import (\n    Bear,\n    Callable,\n)"),
        ("async with self.lease() as one:", "with self.lease() as one:"),
        ("async def __aexit__(self) -> None:", "def __exit__(self) -> None:"),
        ("    async for job in jobs:\n        yield job", "    yield from jobs"),
        ("    for job in await self.all():\n        yield job", "    yield from self.all()"),
        ("    async for job in jobs:\n        yield job.id", "    for job in jobs:\n        yield job.id"),
        ("[job async for job in await self.all()]", "[job for job in self.all()]"),
        ("timeout: float,  # noqa: ASYNC109 - a deadline", "timeout: float,"),
        ("bytes: int,  # noqa: A002 - the API's own word", "bytes: int,  # noqa: A002 - the API's own word"),
    ],
)
def test_a_construct_becomes_its_blocking_counterpart(awaited, blocking, house):
    source = house / FOLDER / "_async.py"
    source.write_text(source.read_text() + f"\n# here\n{awaited}\n# there\n")
    assert unasync(house).returncode == 0
    assert f"\n# here\n{blocking}\n# there\n" in (house / FOLDER / "_sync.py").read_text()
