"""The page about parity knows every row of the table that is played, and gives every difference its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

scenarios = pytest.importorskip("support.parity.scenarios")
matrix = pytest.importorskip("support.parity.matrix")

TEXT = (Path(__file__).parents[3] / "docs" / "explanation" / "parity.md").read_text(encoding="utf-8")
REASONS = {(runner, one.why) for row in scenarios.TABLE.values() for runner, one in row.differs.items()}


def test_every_row_is_on_the_page_and_no_other():
    rows = re.findall(r"^\| (.+?) \| ", TEXT, re.MULTILINE)
    assert set(rows) - {"What happens", "---"} == {row.title for row in scenarios.TABLE.values()}


def test_every_difference_has_its_reason_and_no_other_is_told():
    told = re.findall(r"^\d+\. (.+?): (.+)$", TEXT, re.MULTILINE)
    assert set(told) == REASONS


def test_nothing_differs_without_a_reason():
    assert "**differs**" not in TEXT
    assert "not run" not in TEXT


def test_the_page_shows_the_matrix_as_the_table_declares_it():
    """The tests of parity fail where a runner does something else than the table declares."""
    declared = {
        name: {
            key: dict.fromkeys(row.differs[name].what if name in row.differs else (), "")
            for key, row in scenarios.TABLE.items()
        }
        for name in matrix.NAMES
    }
    assert matrix.markdown(declared) in TEXT
