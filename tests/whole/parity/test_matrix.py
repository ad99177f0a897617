"""The matrix tells what differs, where, and why; a reason that nothing needs any more is told as well."""

from __future__ import annotations

import pytest
from support.parity import matrix
from support.parity.scenarios import TABLE, ParityScenario, differs


@pytest.fixture(autouse=True)
def table(monkeypatch):
    row = ParityScenario(
        title="all goes well",
        play=lambda stage: None,
        expects={"files": 2, "creates": 1, "cancels": 0, "jobs": ["succeeded"], "versions": 1},
        differs={"Dagster": differs("ref", why="It has no names.")},
    )
    monkeypatch.setattr(matrix, "TABLE", {"success": row})


def test_the_same_is_no_difference():
    assert matrix.differing({"ref": "a:1"}, {"ref": "a:1"}) == {}


def test_a_difference_is_found_in_its_place():
    plain = {"reached": [{"path": "/files"}, {"body": {"seed": 7, "suffix": "a"}}]}
    seen = {"reached": [{"path": "/files"}, {"body": {"seed": 8, "suffix": "a"}}]}

    assert matrix.differing(plain, seen) == {"reached": "[1].body.seed: 8, not 7"}


def test_a_difference_needs_a_reason_and_a_reason_a_difference():
    assert matrix.undeclared("success", "Dagster", {"ref": 'null, not "a:1"'}) == []
    assert matrix.undeclared("success", "Prefect", {"ref": "null"}) == ["ref: null"]
    assert matrix.undeclared("success", "Dagster", {}) == ["ref is the same now: its reason can go"]


def test_a_difference_of_the_one_step_form_is_told_and_its_reason_is_the_same():
    found = matrix.in_all({"steps": {}, "one": {"ref": "null"}})
    assert found == {"one step: ref": "null"}
    assert matrix.undeclared("success", "Dagster", found) == []
    assert matrix.undeclared("success", "Prefect", found) == ["one step: ref: null"]


def test_the_matrix_has_a_cell_for_all_that_was_run_and_its_reasons_below():
    pieces = {"plain client": {"success": {}}, "Prefect": {}, "Dagster": {"success": {"ref": "null"}}}

    assert matrix.markdown(pieces).splitlines() == [
        "| What happens | plain client | Prefect | Dagster |",
        "| --- | --- | --- | --- |",
        "| all goes well | 2 files, 1 create; succeeded; 1 version | not run | ref: see 1 |",
        "",
        "1. Dagster: It has no names.",
    ]


def test_what_differs_without_a_reason_stands_out():
    assert "**differs**: ref: null" in matrix.markdown({"Airflow": {"success": {"ref": "null"}}})


def test_each_reason_in_the_table_is_a_sentence():
    told = [difference for row in TABLE.values() for difference in row.differs.values()]
    for difference in told:
        assert difference.why.endswith(".")
        assert difference.what <= {"reached", "jobs", "registered", "counted", "ended", "error", "ref"}
