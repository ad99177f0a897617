"""Which files are JSONL, and that Python's own parser would say the same."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway_service import jsonl
from tuneway_service.jsonl import RowCheck, problem_in

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.dictionaries(st.text(max_size=3), VALUES, max_size=3).map(json.dumps)
LINES = ROWS | ROWS.map(lambda row: row[1:]) | VALUES.map(json.dumps) | st.text('{}[]":,1aeE+-. \\u', max_size=8)


def by_python(content: bytes) -> int | None:
    """The number of the first line that Python doesn't read as an object."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            try:
                good = isinstance(json.loads(line), dict)
            except (ValueError, RecursionError):
                good = False
            if not good:
                return number
    return None


@given(st.lists(LINES, max_size=6))
def test_a_file_is_jsonl_if_python_reads_every_line_as_an_object(lines):
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    problem, wrong = problem_in(io.BytesIO(content)), by_python(content)
    if not content:
        assert "The file is empty" in (problem or "")
    elif wrong is None:
        assert problem is None
    else:
        assert f" Line {wrong} " in (problem or "")


@pytest.mark.parametrize(
    "line",
    [rb'{"a": "\ud800"}', b'{"a": NaN}', b"\xef\xbb\xbf{}", b'{"a": ' + b"[" * 250 + b"]" * 250 + b"}", b" {} \r"],
)
def test_what_only_pythons_parser_takes_is_taken(line):
    assert by_python(line) is None
    assert problem_in(io.BytesIO(b"{}\n" + line)) is None


class Growing(io.BytesIO):
    """A file that grows by a byte each time that its reader has come to the end."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._rest: Iterator[int] = iter(content)

    def more(self) -> bool:
        place = self.tell()
        following = next(self._rest, None)
        self.seek(0, io.SEEK_END)
        self.write(b"" if following is None else bytes([following]))
        self.seek(place)
        return following is not None


@given(st.lists(st.sampled_from([b"{}", b'{"a": 1}', b"", b"  ", b"x"]), min_size=1, max_size=6))
def test_a_file_that_grows_is_judged_like_a_whole_one(lines):
    content = b"\n".join(lines)
    growing = Growing(content)
    assert problem_in(growing, growing.more) == problem_in(io.BytesIO(content))


def test_a_line_that_is_too_long_is_refused_before_it_ends(monkeypatch):
    monkeypatch.setattr(jsonl, "LINE_LIMIT", 100)
    monkeypatch.setattr(jsonl, "BLOCK", 10)
    assert problem_in(io.BytesIO(b'{"a": "' + b"x" * 80 + b'"}\n{}')) is None
    file = io.BytesIO(b'{}\n{"a": "' + b"x" * 500 + b'"}\n')
    assert "Line 2 is not a dictionary" in (problem_in(file) or "")
    assert file.tell() < 150


@pytest.fixture
def large(monkeypatch, tmp_path: Path):
    """A file that another process checks."""
    monkeypatch.setattr(jsonl, "SMALL", 10)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 10)
    return path


def test_a_file_is_checked_while_it_is_written(large):
    check = RowCheck(large)
    try:
        with large.open("ab") as file:
            for line in (b'{"b": ', b"2}\n", b"wrong\n", b"{}\n"):
                file.write(line)
                file.flush()
                check.grew(file.tell())
        assert "Line 12 is not a dictionary" in (check.problem() or "")
    finally:
        check.close()


def test_a_process_that_has_found_a_wrong_line_is_told_of_more_without_an_error(large):
    large.write_bytes(b"wrong\n" * 10)
    check = RowCheck(large)
    try:
        check.grew(60)
        assert check._process is not None
        check._process.wait(timeout=30)
        check.grew(1000)
        assert "Line 1 is not a dictionary" in (check.problem() or "")
    finally:
        check.close()


def test_there_are_only_as_many_processes_as_processors(large, monkeypatch):
    monkeypatch.setattr(jsonl, "FOLLOWERS", threading.BoundedSemaphore(1))
    first, second = RowCheck(large), RowCheck(large)
    try:
        for check in (first, second):
            check.grew(100)
        assert [check._process is not None for check in (first, second)] == [True, False]
        first.close()
        assert second.problem() is None  # it is checked at the end instead
    finally:
        second.close()
    assert jsonl.FOLLOWERS.acquire(blocking=False)
