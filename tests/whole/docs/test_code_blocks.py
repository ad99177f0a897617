"""Every block of code in README and docs works; `support.pages` says how they are written."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.util import find_spec

import pytest
from support.pages import ENGINES, PAGES, ROOT, Block, blocks
from support.reader import Reader
from support.service import running_service
from support.stack import free_port

DATA = ROOT / "examples" / "data"
LANGUAGES = {"bash", "python", "text", "json", "toml", "yaml"}
ALL = [block for page in PAGES for block in blocks(page)]

# Blocks that say that they aren't run, and why. One more is a decision: change the number here.
INSTALLS = ["README", "docs/index", "docs/tutorial/quick-start", *(f"docs/guides/{engine}" for engine in ENGINES)]
NOT_RUN = {f"{page}.md": 1 for page in INSTALLS} | {
    "docs/guides/ray.md": 2,
    "docs/guides/moving.md": 1,
    "docs/guides/service.md": 2,
    "docs/guides/serving.md": 7,
}


def installed(engine: str) -> bool:
    """Whether an engine can be imported; a folder of tests of its name isn't it."""
    spec = find_spec(engine)
    return spec is not None and spec.origin is not None


def journeys() -> list[object]:
    """Each page without engines, and each page with one of them."""
    wanted = {(block.page, block.engine) for block in ALL if block.not_run is None and block.language != "text"}
    return [
        pytest.param(page, engine, id=f"{page}-{engine}" if engine else page)
        for page, engine in sorted(wanted, key=lambda one: (one[0], one[1] or ""))
    ]


@pytest.fixture
def service():
    """Where jobs really train; each page finds it empty."""
    with running_service() as service:
        yield service


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    """Somebody with an empty folder and data to train on."""
    for kind in ("train", "valid"):
        shutil.copy(DATA / f"support_{kind}.jsonl", tmp_path / f"{kind}.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for engine in ENGINES:
        monkeypatch.setenv(f"{engine.upper()}_HOME", str(tmp_path / engine))
    reader = Reader(tmp_path, free_port(), monkeypatch.setenv)
    yield reader
    reader.leave()


@pytest.fixture
def reader(service, newcomer, monkeypatch):
    """The same, who knows the address of a service."""
    monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
    return newcomer


@pytest.fixture
def prefect_server(monkeypatch):
    """Prefect's own server; each program of a page would start one otherwise, and most people have one."""
    from support.real_prefect import Prefect

    with Prefect.running() as prefect:
        monkeypatch.setenv("PREFECT_API_URL", prefect.url)
        yield


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("page", "engine"), journeys())
def test_a_reader_can_follow_the_page(page, engine, request):
    if engine is not None and not installed(engine):
        pytest.skip(f"needs {engine}")
    if engine == "prefect":
        request.getfixturevalue("prefect_server")
    reader = request.getfixturevalue("reader")
    ran = False
    for block in (block for block in ALL if block.page == page and block.not_run is None):
        if block.language != "text":
            # what a page writes to files is there for all
            ran = block.engine == engine or block.title is not None
        if ran:  # output belongs to the block above it
            reader.follow(block)


def test_every_block_says_what_it_is():
    strange = [f"{block.place}: {block.language or 'no language'}" for block in ALL if block.language not in LANGUAGES]
    assert strange == []
    assert [block.place for block in ALL if block.engine not in {None, *ENGINES}] == []


def test_output_stands_below_what_prints_it():
    pairs = zip([None, *ALL], ALL, strict=False)
    loose = [
        block.place
        for before, block in pairs
        if block.language == "text"
        and (before is None or before.page != block.page or before.not_run or before.language not in {"bash", "python"})
    ]
    assert loose == []


def test_what_is_python_compiles():
    for block in ALL:
        if block.language == "python":
            compile(block.code, block.place, "exec")


def test_what_is_not_run_says_why_and_is_counted():
    marked = [block for block in ALL if block.not_run is not None]
    assert Counter(block.page for block in marked) == NOT_RUN
    assert [block.place for block in marked if not block.not_run] == []


def test_every_fence_is_read():
    """Nothing hides from these tests by being written in another way."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = sum(line.lstrip(" >").startswith(("```", "~~~")) for line in text.splitlines())
        assert fences == 2 * len(list(blocks(page))), page


def test_a_block_that_does_not_work_is_a_failure(newcomer):
    def block(language: str, code: str) -> Block:
        return Block(page="page.md", line=1, language=language, code=code)

    newcomer.follow(block("bash", "echo one 2"))
    newcomer.follow(block("text", "one ..."))
    with pytest.raises(AssertionError, match="shows what isn't printed"):
        newcomer.follow(block("text", "three"))
    with pytest.raises(AssertionError, match="ended with 3"):
        newcomer.follow(block("bash", "(exit 3)"))
    with pytest.raises(ZeroDivisionError):
        newcomer.follow(block("python", "1 / 0"))
