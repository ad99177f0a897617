"""What engines may store and show of the data that a step was given."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tuneway.data import is_frame, is_place, shown_input

ROWS = [{"prompt": f"hidden {number}", "completion": "hidden"} for number in range(3)]


@pytest.mark.parametrize(
    "data", [None, "train.jsonl", Path("/data/train.jsonl"), "s3://bucket/train.jsonl", 0.1], ids=str
)
def test_a_place_can_be_stored_as_it_is(data):
    assert is_place(data)


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (ROWS, "rows"),
        (iter(ROWS), "rows"),
        (lambda: ROWS, "rows"),
        (ROWS[0], "a dict"),
        (json.dumps(ROWS), "a str"),
        (json.dumps(ROWS).encode(), "a bytes"),
        ("https://user:hidden@example.com/train.jsonl?signature=hidden", "https://example.com/train.jsonl"),
    ],
    ids=["a list", "an iterator", "a function", "one row", "a text of rows", "bytes", "a URL with secrets"],
)
def test_what_holds_rows_or_secrets_is_shown_by_its_source(data, source):
    assert not is_place(data)
    shown = shown_input(data)
    assert shown["source"] == source
    assert "hidden" not in json.dumps(shown)


def test_rows_and_hash_are_shown_when_they_are_known():
    assert shown_input(ROWS) == {"source": "rows", "rows": 3}
    assert shown_input(iter(ROWS)) == {"source": "rows"}
    facts = {"rows": 2, "sha256": "abc", "tokens": 7}
    assert shown_input(ROWS, facts) == {"source": "rows", "rows": 2, "sha256": "abc"}


def test_a_frame_is_shown_by_its_library_and_its_query_is_not_run():
    polars = pytest.importorskip("polars")
    ran = []

    def query(frame):
        ran.append(len(frame))
        return frame

    lazy = polars.DataFrame(ROWS).lazy().map_batches(query)
    assert (is_frame(lazy), is_place(lazy)) == (True, False)
    assert shown_input(lazy) == {"source": "a polars LazyFrame"}
    assert shown_input(polars.DataFrame(ROWS)) == {"source": "a polars DataFrame"}
    assert ran == []


def test_a_frame_without_the_package_that_reads_it_is_hidden_as_well(monkeypatch):
    class Frame:
        columns = ("prompt", "completion")

    monkeypatch.setitem(sys.modules, "narwhals", None)
    assert (is_frame(Frame()), is_place(Frame())) == (True, False)
    assert shown_input(Frame()) == {"source": "a Frame"}
