"""The documentation site: built strictly, and complete on a machine without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="uv sync --group docs")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FETCHES = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//|<link\b[^>]*\bhref=\"?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", place],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return place


def test_every_page_is_there_and_every_link_leads_somewhere(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in pages if not (site / page).exists()] == []


def test_no_page_fetches_anything_from_elsewhere(site):
    fetching = {path.name: found[0] for path in site.rglob("*.html") if (found := FETCHES.search(path.read_text()))}
    assert fetching == {}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", styles)


def test_the_reference_shows_what_is_public(site):
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    for name in ("client.Client.submit", "client.AsyncClient.wait", "errors.LookupFailed", "registry.Registry.promote"):
        assert f'id="tuneway.{name}"' in text
