"""Twins are found exactly, in memory and by way of the disk, and a digest alone accuses nobody."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway.dataset._seen import Seen, duplicates, overlap

Rows = list[bytes]
# few texts, so that twins are common; few digests, so that rows share one without being twins
rows_of = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=40)
digest_of = st.sampled_from([hash, lambda row: row[0] % 2, lambda _: -1])


def remember(rows: Rows, digest, limit: int) -> Seen:
    """Rows of a file where row n starts at offset n and is on line n + 1, a few at a time."""
    seen = Seen(lambda offset: rows[offset], limit=limit)
    for start in range(0, len(rows), 3):
        part = range(start, min(start + 3, len(rows)))
        seen.add([digest(rows[n]) for n in part], [n + 1 for n in part], part)
    return seen


def naive(rows: Rows, earlier: Rows | None = None) -> list[tuple[int, int]]:
    if earlier is None:
        return [(n + 1, rows.index(row) + 1) for n, row in enumerate(rows) if rows.index(row) < n]
    return [(n + 1, earlier.index(row) + 1) for n, row in enumerate(rows) if row in earlier]


@given(rows=rows_of, limit=st.sampled_from([0, 1, 5, 100]))
def test_all_duplicates_are_found_whatever_fits_in_memory(rows, limit):
    seen = remember(rows, hash, limit)
    assert sorted(duplicates(seen)) == naive(rows)
    seen.close()


@given(rows=rows_of, other=rows_of, limit=st.sampled_from([0, 5, 100]), other_limit=st.sampled_from([0, 5, 100]))
def test_all_rows_of_both_files_are_found_whichever_is_on_disk(rows, other, limit, other_limit):
    seen, earlier = remember(rows, hash, limit), remember(other, hash, other_limit)
    assert sorted(overlap(seen, earlier)) == naive(rows, other)
    assert sorted(duplicates(seen)) == naive(rows)  # looking twice finds the same
    seen.close()
    earlier.close()


@given(rows=rows_of, other=rows_of, digest=digest_of, limit=st.sampled_from([0, 100]))
def test_rows_with_equal_digests_are_told_apart(rows, other, digest, limit):
    seen, earlier = remember(rows, digest, limit), remember(other, digest, limit)
    assert sorted(duplicates(seen)) == naive(rows)
    assert sorted(overlap(seen, earlier)) == naive(rows, other)
    seen.close()
    earlier.close()


def test_memory_holds_no_more_than_the_limit():
    seen = Seen(lambda _: b"", limit=100)
    for n in range(0, 10_000, 50):
        seen.add(range(n, n + 50), range(n, n + 50), range(n, n + 50))
        assert len(seen._digests) <= 100
    assert seen.spilled
    seen.close()


def test_the_temporary_file_goes_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = Seen(lambda _: b"", limit=1)
    seen.add(range(9), range(9), range(9))
    assert seen.spilled
    seen.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="closed"):
        list(seen.buckets())
