"""What a frame's library writes is what would be written row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneway.data import chat_texts, encode, is_plain_chat
from tuneway.data._encoding import ROLES
from tuneway.data._frames import frame_of
from tuneway.data._native import NativeBatch
from tuneway.data._rows import frame_of_rows, lines_of

odd_texts = [
    '"',
    "\\",
    '\\"',
    "\n\r\t",
    "\x00\x1f\x7f\b\f",
    ',"weight":null',
    '{"weight":null}',
    "\u2028\N{GRINNING FACE}",
]
texts = st.none() | st.text(max_size=6) | st.sampled_from(odd_texts)
whole = st.none() | st.integers(-(2**40), 2**40)
floats = st.none() | st.sampled_from([0.0, -0.0, 1.0, 3.0, 2.0**40])
odd_floats = floats | st.sampled_from([0.5, 1e300, float("nan"), 1e16])
messages = st.fixed_dictionaries(
    {}, optional={"role": texts, "content": texts, "weight": whole, "cut": st.none() | st.booleans()}
)
FIELDS = {
    "messages": st.none() | st.lists(st.none() | messages, max_size=3),
    "prompt": texts,
    "number": whole,
    "score": floats,
    "tags": st.none() | st.lists(texts, max_size=2),
    "inner": st.none() | messages,
}
rows = st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=6)


def schema():
    import pyarrow as pa

    message = pa.struct(
        [("role", pa.string()), ("content", pa.large_string()), ("weight", pa.int64()), ("cut", pa.bool_())]
    )
    return pa.schema(
        [
            ("messages", pa.list_(message)),
            ("prompt", pa.string()),
            ("number", pa.int64()),
            ("score", pa.float64()),
            ("tags", pa.large_list(pa.string())),
            ("inner", message),
        ]
    )  # fmt: skip


def written(frame):
    return b"".join(line for lines in lines_of(frame_of(frame), None, field="training_data") for line in lines)


def taken(frame):
    """Whether its library wrote all batches."""
    return all(isinstance(batch, NativeBatch) and batch.lines() is not None for batch in frame_of(frame).batches())


@given(rows=rows, start=st.integers(0, 3))
def test_arrow_writes_what_is_written_row_by_row(rows, start):
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist(rows, schema=schema()).slice(start)

    assert written(table) == b"".join(map(encode, table.to_pylist()))
    assert taken(table)


@given(rows=st.lists(st.fixed_dictionaries({"prompt": texts, "score": odd_floats}), min_size=1))
def test_arrow_with_any_floats_is_written_as_row_by_row(rows):
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows)

    assert written(table) == b"".join(map(encode, table.to_pylist()))


@given(rows=rows, start=st.integers(0, 3))
def test_polars_writes_what_is_written_row_by_row(rows, start):
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    import pyarrow as pa

    frame = polars.from_arrow(pa.Table.from_pylist(rows, schema=schema()))
    assert written(frame) == b"".join(map(encode, frame.to_dicts()))

    frame = frame.drop("score").slice(start)
    assert written(frame) == b"".join(map(encode, frame.to_dicts()))
    assert taken(frame)


odd = st.sampled_from([None, [], "text", [{"role": "user"}], [{"role": "assistant", "content": "\ud800"}]])


plain_chats = st.lists(st.fixed_dictionaries({"role": st.sampled_from([*ROLES]), "content": texts}))


@given(messages=odd | plain_chats | st.lists(st.dictionaries(st.sampled_from(["role", "content", "name"]), texts)))
def test_plain_chats_are_those_whose_texts_are_found(messages):
    assert chat_texts(messages) == ([one["content"] for one in messages] if is_plain_chat(messages) else None)


@given(columns=st.lists(odd | plain_chats))
def test_pandas_writes_what_is_written_row_by_row(columns):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"messages": pandas.Series(columns, dtype=object)})

    assert written(frame) == b"".join(encode({"messages": value}) for value in columns)


@given(columns=st.lists(odd | plain_chats))
def test_a_list_of_rows_is_written_row_by_row_or_at_once(columns):
    made = [{"messages": value} for value in columns]
    lines = lines_of(frame_of_rows(lambda: made, field="training_data"), None, field="training_data")

    assert b"".join(line for some in lines for line in some) == b"".join(map(encode, made))


def test_chats_of_pandas_that_are_much_text_are_written_row_by_row():
    pandas = pytest.importorskip("pandas")
    chat = [{"role": "user", "content": "x" * 100_000}, {"role": "assistant", "content": "y"}]
    for count, is_taken in ((20, True), (60, False)):
        frame = pandas.DataFrame({"messages": [chat] * count})
        assert written(frame) == encode({"messages": chat}) * count
        assert taken(frame) == is_taken


@pytest.mark.parametrize("kind", ["date", "bytes", "decimal", "dictionary", "map", "timestamp", "fixed"])
def test_arrow_of_other_types_is_written_as_row_by_row(kind):
    pa = pytest.importorskip("pyarrow")
    from datetime import date, datetime
    from decimal import Decimal

    value, type_ = {
        "date": (date(2026, 1, 2), pa.date32()),
        "bytes": (None, pa.binary()),
        "decimal": (Decimal("1.50"), pa.decimal128(5, 2)),
        "dictionary": ("x", pa.dictionary(pa.int8(), pa.string())),
        "map": (None, pa.map_(pa.string(), pa.string())),
        "timestamp": (datetime(2026, 1, 2), pa.timestamp("us")),  # noqa: DTZ001
        "fixed": ([1, 2], pa.list_(pa.int8(), 2)),
    }[kind]
    names = ["prompt", "more"]
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([value], type_)], names=names)
    rows = [dict(zip(names, ("a", value), strict=True))]

    assert written(table) == b"".join(map(encode, rows))


said = st.none() | st.sampled_from(["", "x"])
turns = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "assistant", "bot"]), "content": said})
good = st.fixed_dictionaries({"role": st.sampled_from(["system", "assistant"]), "content": st.just("x")})
plain = st.fixed_dictionaries({"messages": st.lists(good, max_size=3)})
chats = st.fixed_dictionaries({"messages": st.none() | st.lists(turns | good | st.none(), max_size=3)})


@given(rows=st.lists(plain, min_size=1, max_size=4) | st.lists(chats, min_size=1, max_size=4), start=st.integers(0, 1))
def test_plain_chats_are_recognised_as_rows_are(rows, start):
    pa = pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    table = pa.Table.from_pylist(rows, schema=pa.schema([("messages", pa.list_(message))])).slice(start)

    for frame in (table, polars.from_arrow(table)):
        left = rows[start:]
        for batch in frame_of(frame).batches():
            some, left = left[: len(batch.lines())], left[len(batch.lines()) :]
            assert batch.lines().plain_chats == all(is_plain_chat(row["messages"]) for row in some)
        assert not left
