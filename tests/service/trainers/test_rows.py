"""Rows of a file, in any order, without the file in memory."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneway.errors import InvalidInput
from tuneway_service.trainers.rows import Rows


def everything(row, line):
    return True


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=3), st.text()), max_size=8),
    ending=st.sampled_from(["\n", "\r\n", "\n\n"]),
    last=st.booleans(),
    ascii_only=st.booleans(),
)
def test_every_row_comes_back_by_its_number(tmp_path, rows, ending, last, ascii_only):
    text = ending.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows) + (ending if last else "")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text.encode())
    found = Rows(path, everything)
    assert len(found) == len(rows)
    assert [found[number] for number in reversed(range(len(rows)))] == rows[::-1]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_rows_that_are_not_accepted_do_not_count(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"n": n}) for n in range(10)))
    found = Rows(path, lambda row, line: row["n"] % 2 == 1)
    assert [found[number]["n"] for number in range(len(found))] == [1, 3, 5, 7, 9]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
    found = Rows(path, everything)
    assert [found[0], found[1]] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("line", ["{", "nonsense", "[1]", '"text"', "[" * 100_000], ids=lambda line: line[:8])
def test_a_broken_line_is_told_by_its_number(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n')
    with pytest.raises(InvalidInput, match="line 3: "):
        Rows(path, everything)


def test_bytes_that_are_no_text_are_told_by_their_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "\xff\xfe"}\n')
    with pytest.raises(InvalidInput, match="line 2: "):
        Rows(path, everything)


def test_what_accept_refuses_gets_its_line(tmp_path):
    def refuse(row, line):
        raise InvalidInput("no messages", hint="Add some.")

    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"a": 1}\n')
    with pytest.raises(InvalidInput, match="line 2: no messages\nAdd some"):
        Rows(path, refuse)


def test_a_missing_file_is_one_of_our_errors(tmp_path):
    with pytest.raises(InvalidInput, match=r"absent\.jsonl can't be read"):
        Rows(tmp_path / "absent.jsonl", everything)
