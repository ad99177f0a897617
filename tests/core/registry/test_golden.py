"""Registries that were written once are read for ever.

`data/layout-N.db` is a file as the last release with layout N wrote it, `.json` what was to be read in it and
`.sql` its schema. A change of the layout is a new step in `tuneway.registry._schema` and a new set of files
here; those that are here are never changed.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.registries import make_record

from tuneway.registry import open_registry
from tuneway.registry._schema import STEPS

DATA = Path(__file__).parent / "data"
TODAY = len(STEPS)
LAYOUTS = range(2, TODAY + 1)  # layout 1, which no release had, is in test_sqlite.py


def told(registry):
    """All that a registry holds, but for what depends on the day, and for fields that have come since."""
    return {
        name: {
            "versions": [
                version.model_dump(mode="json", exclude_defaults=True, exclude={"warnings"})
                for version in registry.versions(name)
            ],
            "aliases": registry.aliases(name),
            "history": [event.model_dump(mode="json", exclude_defaults=True) for event in registry.history(name)],
        }
        for name in sorted(version.name for version in registry.models())
    }


def schema(path):
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    return [sql for (sql,) in rows]


def wanted_schema(layout):
    return [line.removesuffix(";") for line in (DATA / f"layout-{layout}.sql").read_text().splitlines()]


def test_the_current_layout_has_its_golden_files():
    assert (DATA / f"layout-{TODAY}.db").exists(), "the layout has changed: add its files, see above"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_registry_of_an_older_release_says_what_it_said_then(layout, tmp_path):
    path = tmp_path / "models.db"
    shutil.copy(DATA / f"layout-{layout}.db", path)
    registry = open_registry(f"sqlite:///{path}")
    assert told(registry) == json.loads((DATA / f"layout-{layout}.json").read_text())
    assert [found.ref for found in registry.find(sha256="aa" * 32)] == [f"support-router:{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_registry_of_an_older_release_can_be_written_too(layout, tmp_path):
    path = tmp_path / "models.db"
    shutil.copy(DATA / f"layout-{layout}.db", path)
    registry = open_registry(f"sqlite:///{path}")
    assert registry.register(make_record("support-router", "new"), alias="champion").version == 4
    assert registry.aliases("support-router")["previous"] == 1
    assert registry.history("least")[0].by == "dan"


def test_a_new_file_and_one_that_was_brought_along_have_todays_schema(tmp_path):
    new, old = tmp_path / "new.db", tmp_path / "old.db"
    shutil.copy(DATA / "layout-1.db", old)
    for path in (new, old):
        open_registry(f"sqlite:///{path}").models()
        assert schema(path) == wanted_schema(TODAY)
