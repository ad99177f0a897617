"""Links between the files of the repository lead somewhere; those of the site are mkdocs' own to check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_what_a_page_links_to_is_there(page):
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_picture_is_small_enough_to_load():
    pictures = (ROOT / "docs" / "images").glob("*.png")
    assert [path.name for path in pictures if path.stat().st_size > 200_000] == []
