"""What engines may store and show of the data that a step was given."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tuneway.data import is_frame, is_place, name_of, shown_input
from tuneway.dataset import validate
from tuneway.errors import InvalidInput

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


SECRET_URLS = [
    "https://me:hidden/words@127.0.0.1:1/a.jsonl",
    "https://me:hidden?words@127.0.0.1:1/a.jsonl",
    "https://me:hidden#words@127.0.0.1:1/a.jsonl",
    "https://me:12/hidden@127.0.0.1:1/a.jsonl",
    "https://me:hidden@words@127.0.0.1:1/a.jsonl",
    "https://me:hidden@[::1/a.jsonl",
    "https:/me:hidden@127.0.0.1/a.jsonl",
    "https//me:hidden@127.0.0.1/a.jsonl",
    "s3://key:hidden/words@bucket/a.jsonl",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_password_is_hidden_however_badly_its_url_is_written(url):
    with pytest.raises(InvalidInput) as caught:
        validate(url)
    for text in (name_of(url), str(shown_input(url)), str(caught.value), repr(caught.value), str(caught.value.hint)):
        assert "hidden" not in text
    assert not is_place(url)


@pytest.mark.parametrize("url", ["https://host.example/a@2/b.jsonl", "s3://bucket/me@host/a.jsonl", "data/a@b:c.jsonl"])
def test_a_name_with_an_at_sign_is_shown_whole(url):
    assert name_of(url) == url
    assert is_place(url)


@pytest.mark.parametrize("url", ["http://[::1", "s3://[x/y"])
def test_an_address_that_cannot_be_read_is_refused_in_a_sentence(url):
    with pytest.raises(InvalidInput, match="is no address"):
        validate(url)
