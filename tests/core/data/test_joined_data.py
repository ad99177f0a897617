"""Data in several parts is one set of rows, in the order of the parts."""

from __future__ import annotations

import gzip
import json

import pytest

from tuneway.data import joined
from tuneway.errors import InvalidInput

ROWS = [{"n": number} for number in range(4)]


def test_rows_files_and_zipped_files_are_read_one_after_the_other(tmp_path):
    plain, zipped = tmp_path / "b.jsonl", tmp_path / "c.jsonl.gz"
    plain.write_text(f"{json.dumps(ROWS[1])}\n\n{json.dumps(ROWS[2])}\n", encoding="utf-8")
    zipped.write_bytes(gzip.compress(json.dumps(ROWS[3]).encode()))

    assert list(joined([[ROWS[0]], plain, str(zipped)], field="training_data")()) == ROWS


def test_a_line_that_is_no_object_is_named_without_its_text(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"n": 0}\nsecret\n', encoding="utf-8")

    with pytest.raises(InvalidInput, match=r"bad\.jsonl:2 is no JSON object") as refused:
        list(joined([path], field="training_data")())

    assert "secret" not in str(refused.value)
