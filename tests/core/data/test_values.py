"""One value is written in one way or refused in one way, whichever source it comes from."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from pydantic import BaseModel
from pydantic_core import to_json

from tuneway.data import encode, stream_of
from tuneway.dataset import validate
from tuneway.errors import InvalidSpec

BERLIN = timezone(timedelta(hours=1))
NAN = float("nan")


class Point(NamedTuple):
    x: int
    y: int


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


WRITTEN: dict[str, tuple[Any, str]] = {
    "text": ("x", '"x"'),
    "a truth": (True, "true"),
    "an integer": (7, "7"),
    "a whole float": (7.0, "7"),
    "a float": (0.5, "0.5"),
    "a very large float": (1e300, to_json(1e300).decode()),  # releases of pydantic write the exponent differently
    "a decimal": (Decimal("1.50"), "1.5"),
    "a whole decimal": (Decimal("2.00"), "2"),
    "a large decimal": (Decimal(2**62), str(2**62)),
    "a decimal that is NaN": (Decimal("NaN"), ""),
    "a decimal that signals NaN": (Decimal("sNaN"), ""),
    "NaN": (NAN, ""),
    "null": (None, ""),
    "a date": (date(2026, 1, 2), '"2026-01-02"'),
    "a time": (time(10, 30, 0, 5), '"10:30:00.000005"'),
    "a time stamp": (datetime(2026, 1, 2, 3, 4, 5, 6), '"2026-01-02T03:04:05.000006"'),  # noqa: DTZ001
    "a time stamp of a zone": (datetime(2026, 1, 2, 1, tzinfo=BERLIN), '"2026-01-02T00:00:00+00:00"'),
    "the first time stamp of all": (datetime.min.replace(tzinfo=BERLIN), '"0001-01-01T00:00:00+01:00"'),
    "a UUID": (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    "an enum": (Colour.RED, '"red"'),
    "an enum of integers": (Level.LOW, "1"),
    "a named tuple": (Point(1, 2), "[1,2]"),
    "a mapping": ({"a": None, "b": {"c": 1.0}}, '{"b":{"c":1}}'),
    "a list": ([1.0, None, NAN, Decimal("NaN"), ("x",)], '[1,null,null,null,["x"]]'),
    "a range": (range(2), "[0,1]"),
}

REFUSED: dict[str, tuple[Any, str, str]] = {
    "a float that is infinite": (float("inf"), "is infinite", "a finite number"),
    "a decimal that is infinite": (Decimal("-Infinity"), "is infinite", "a finite number"),
    "a decimal that no float holds": (Decimal("1e400"), "is infinite", "a finite number"),
    "a span of time": (timedelta(seconds=4111), "is a timedelta, which JSON doesn't have", "a number of seconds"),
    "bytes": (b"secret", "is bytes", "base64"),
    "a set": ({"secret"}, "is a set, which has no order", "a list"),
    "keys that are no text": ({4111: "x"}, "has keys that aren't text", "Make the keys text"),
    "a complex number": (4111j, "is a complex, which JSON doesn't have", "Give text, a number"),
}


def line(value: Any, column: str = "more") -> bytes:
    return encode({"prompt": "a", column: value, "completion": "b"})


def expected(text: str) -> bytes:
    more = f'"more":{text},' if text else ""
    return f'{{"prompt":"a",{more}"completion":"b"}}\n'.encode()


def lines(data: Any, **options: Any) -> bytes:
    with stream_of(data, field="training_data", **options) as stream:
        return stream.raw.read(2**30) or b""


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_value_of_python_is_written_by_the_table(kind):
    value, text = WRITTEN[kind]

    assert line(value) == expected(text)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_value_that_json_has_not_is_refused_with_its_row_its_column_and_what_to_do(kind):
    value, says, hint = REFUSED[kind]
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "b", "more": value}]
    with pytest.raises(InvalidSpec, match=f"training_data, row 1: more {says}") as caught:
        validate(rows)
    assert hint in str(caught.value.hint)
    assert not any(word in f"{caught.value} {caught.value.hint}" for word in ("secret", "4111"))


def arrow_types() -> dict[str, Any]:
    pa = pytest.importorskip("pyarrow")
    return {
        "a decimal": pa.decimal128(20, 2),
        "a whole decimal": pa.decimal128(20, 2),
        "a large decimal": pa.decimal128(38, 0),
        "a float": pa.float32(),
        "a date": pa.date32(),
        "a time": pa.time64("us"),
        "a time stamp": pa.timestamp("us"),
        "a time stamp of a zone": pa.timestamp("us", "Europe/Berlin"),
        "a mapping": pa.struct([("a", pa.int8()), ("b", pa.struct([("c", pa.float64())]))]),
        "bytes": pa.binary(),
        "a span of time": pa.duration("us"),
        "a float that is infinite": pa.float64(),
    }


def table(kind: str, value: Any) -> Any:
    pa = pytest.importorskip("pyarrow")
    column = pa.array([value], arrow_types().get(kind))
    return pa.table({"prompt": ["a"], "more": column, "completion": ["b"]})


def pandas_of(kind: str, value: Any, *, arrow: bool = False) -> Any:
    pandas = pytest.importorskip("pandas")
    if arrow:
        return table(kind, value).to_pandas(types_mapper=pandas.ArrowDtype)
    return pandas.DataFrame({"prompt": ["a"], "more": [value], "completion": ["b"]})


def polars_of(kind: str, value: Any) -> Any:
    return pytest.importorskip("polars").from_arrow(table(kind, value))


def duckdb_of(kind: str, value: Any) -> Any:
    made = table(kind, value)  # noqa: F841  # DuckDB finds it by its name
    return pytest.importorskip("duckdb").sql("SELECT * FROM made")


def lazy_of(kind: str, value: Any) -> Any:
    return polars_of(kind, value).lazy()


FRAMES = {
    "pandas": pandas_of,
    "pandas with types of Arrow": lambda kind, value: pandas_of(kind, value, arrow=True),
    "polars": polars_of,
    "lazy polars": lazy_of,
    "Arrow": table,
    "DuckDB": duckdb_of,
}
IN_ARROW = [
    kind for kind in WRITTEN
    if kind not in ("a decimal that is NaN", "a decimal that signals NaN", "the first time stamp of all", "a UUID",
                    "an enum", "an enum of integers", "a named tuple", "a list", "a range")
]  # fmt: skip
SPANS = {"Arrow": "duration", "pandas": "Timedelta", "pandas with types of Arrow": "Timedelta"}


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("kind", IN_ARROW)
def test_a_value_of_a_frame_is_written_as_that_of_python(frame, kind):
    value, text = WRITTEN[kind]

    assert lines(FRAMES[frame](kind, value)) == expected(text)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("kind", ["bytes", "a span of time", "a float that is infinite"])
def test_a_value_of_a_frame_that_json_has_not_is_refused_as_that_of_python(frame, kind):
    value, _, hint = REFUSED[kind]
    with pytest.raises(InvalidSpec, match=r"row 0: more is (bytes|infinite|a \w+, which JSON doesn't have)") as caught:
        lines(FRAMES[frame](kind, value))
    assert hint in str(caught.value.hint)
    assert not any(word in f"{caught.value} {caught.value.hint}" for word in ("secret", "4111"))


FINE = "2026-01-02T03:04:05.123456789"
FINE_TEXT = '"2026-01-02T03:04:05.123456"'


def fine_columns() -> dict[str, Any]:
    """The same time with nanoseconds, in each way that libraries have for it."""
    np = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    pa = pytest.importorskip("pyarrow")
    duckdb = pytest.importorskip("duckdb")
    stamp = np.datetime64(FINE, "ns")
    array = pa.array([stamp], pa.timestamp("ns"))
    return {
        "numpy": [{"prompt": "a", "more": stamp, "completion": "b"}],
        "pandas": pandas.DataFrame({"prompt": ["a"], "more": pandas.Series([stamp]), "completion": ["b"]}),
        "pandas, an object": pandas.DataFrame(
            {"prompt": ["a"], "more": pandas.Series([stamp], dtype=object), "completion": ["b"]}
        ),
        "polars": polars.DataFrame({"prompt": ["a"], "more": polars.from_arrow(array), "completion": ["b"]}),
        "Arrow": pa.table({"prompt": ["a"], "more": array, "completion": ["b"]}),
        "DuckDB": duckdb.sql(f"SELECT 'a' AS prompt, TIMESTAMP_NS '{FINE}' AS more, 'b' AS completion"),
    }


def test_a_time_in_nanoseconds_is_written_to_the_microsecond_everywhere():
    assert {name: lines(data) for name, data in fine_columns().items()} == dict.fromkeys(
        fine_columns(), expected(FINE_TEXT)
    )


def test_times_inside_of_columns_of_arrow_are_written_to_the_microsecond():
    pa = pytest.importorskip("pyarrow")
    stamp = pa.timestamp("ns")
    inner = pa.struct([("at", stamp), ("of_day", pa.time64("ns"))])
    kinds = [pa.list_(inner), pa.large_list(inner), pa.list_(inner, 1), pa.map_(pa.string(), inner)]
    value = {"at": 1_000_000_123_456_789, "of_day": 1_001}
    text = '{"at":"1970-01-12T13:46:40.123456","of_day":"00:00:00.000001"}'
    for kind in kinds:
        is_map = pa.types.is_map(kind)
        array = pa.array([[("x", value)] if is_map else [value]], kind)
        data = pa.table({"prompt": ["a"], "more": array, "completion": ["b"]})
        assert lines(data) == expected(f'{{"x":{text}}}' if is_map else f"[{text}]")


def test_arrays_of_numpy_are_lists_of_their_values():
    np = pytest.importorskip("numpy")
    many = {
        '["2026-01-02T03:04:05.123456",null]': np.array([FINE, "NaT"], "datetime64[ns]"),
        '["2026-01-02"]': np.array(["2026-01-02"], "datetime64[D]"),
        "[1,2]": np.array([1.0, 2.0]),
        "[[true]]": np.array([[True]]),
        '["x",null]': np.array(["x", None], dtype=object),
        "7": np.int8(7),
        "0.5": np.float32(0.5),
        '"x"': np.str_("x"),
    }
    assert [line(value) for value in many.values()] == [expected(text) for text in many]
    for value in (np.timedelta64(1, "D"), np.array([1], "timedelta64[ns]"), np.datetime64("20000-01-01", "s")):
        with pytest.raises(InvalidSpec, match=r"row 0: more is a \w+, which JSON doesn't have"):
            lines([{"prompt": "a", "more": value, "completion": "b"}])


def test_a_column_of_polars_in_a_row_is_a_list():
    polars = pytest.importorskip("polars")

    assert line(polars.Series([1, None])) == expected("[1,null]")


def maps() -> dict[str, Any]:
    pa = pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    kind = pa.map_(pa.string(), pa.map_(pa.string(), pa.int64()))
    array = pa.array([[("x", [("y", 1), ("z", None)]), ("n", None)]], kind)
    data = pa.table({"prompt": ["a"], "more": array, "completion": ["b"]})
    return {
        "Arrow": data,
        "pandas with types of Arrow": data.to_pandas(types_mapper=pandas.ArrowDtype),
        "DuckDB": pytest.importorskip("duckdb").sql(
            "SELECT 'a' AS prompt, MAP {'x': MAP {'y': 1, 'z': NULL}, 'n': NULL} AS more, 'b' AS completion"
        ),
        "rows": [{"prompt": "a", "more": {"x": {"y": 1, "z": None}, "n": None}, "completion": "b"}],
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", ["Arrow", "pandas with types of Arrow", "DuckDB", "rows"])
def test_a_map_is_an_object(source):
    assert lines(maps()[source]) == expected('{"x":{"y":1}}')


def test_a_map_that_is_no_object_is_refused():
    pa = pytest.importorskip("pyarrow")
    for pairs, kind, says in (
        ([(1, "x")], pa.int8(), "has keys that aren't text"),
        ([("k", "x"), ("k", "y")], pa.string(), "is a map that has a key twice"),
    ):
        array = pa.array([[], pairs], pa.map_(kind, pa.string()))
        data = pa.table({"prompt": ["a", "a"], "more": array, "completion": ["b", "b"]})
        with pytest.raises(InvalidSpec, match=f"an Arrow Table, row 1: more {says}"):
            lines(data)


def test_what_only_a_database_has_is_refused():
    duckdb = pytest.importorskip("duckdb")
    for expression, says in (("INTERVAL 3 DAY", "is a MonthDayNano, which JSON"), ("'\\xAA'::BLOB", "is bytes"),
                             ("'infinity'::TIMESTAMP", r"is a timestamp\[us\] that Python has no value")):  # fmt: skip
        data = duckdb.sql(f"SELECT 'a' AS prompt, {expression} AS more, 'b' AS completion")
        with pytest.raises(InvalidSpec, match=f"a DuckDB relation, row 0: more {says}"):
            lines(data)


def test_a_column_that_a_template_leaves_out_may_be_anything():
    duckdb = pytest.importorskip("duckdb")
    data = duckdb.sql("SELECT 'a' AS q, 'infinity'::TIMESTAMP AS more, INTERVAL 3 DAY AS span, 'b' AS r")

    assert lines(data, row={"prompt": "{q}", "completion": "{r}"}) == b'{"prompt":"a","completion":"b"}\n'


def test_a_query_that_fails_shows_no_value():
    duckdb = pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    failing = polars.DataFrame({"prompt": ["secret"]}).lazy().with_columns(polars.col("prompt").cast(int))
    for data in (duckdb.sql("SELECT CAST(prompt AS INTEGER) AS prompt FROM (VALUES ('secret')) AS t(prompt)"), failing):
        with pytest.raises(InvalidSpec, match=r"training_data: a \w+ \w+ can't be read: \w+ was raised") as caught:
            lines(data)
        assert "secret" not in f"{caught.value} {caught.value.hint}"
        assert caught.value.__cause__ is None


class Turn(BaseModel):
    at: datetime
    inner: Any = None


def test_a_model_is_written_as_a_mapping_is():
    at = datetime(2026, 1, 2, tzinfo=UTC)
    row = {"prompt": "a", "more": {"at": at}, "completion": "b"}

    assert lines([row | {"more": Turn(at=at)}]) == lines([row]) == expected('{"at":"2026-01-02T00:00:00+00:00"}')


class Row(BaseModel):
    prompt: str
    more: datetime
    completion: str


class NamedRow(NamedTuple):
    prompt: str
    more: datetime
    completion: str


def test_rows_of_models_named_tuples_and_cursors_are_mappings():
    at = datetime(2026, 1, 2, tzinfo=UTC)
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    text = expected('"2026-01-02T00:00:00+00:00"')

    assert lines([Row(prompt="a", more=at, completion="b")]) == text
    assert lines([NamedRow("a", at, "b")]) == text
    assert lines(database.execute(f"SELECT 'a' AS prompt, '{at.isoformat()}' AS more, 'b' AS completion")) == text
    with pytest.raises(InvalidSpec, match="row 0: is a tuple, not a mapping") as caught:
        lines(sqlite3.connect(":memory:").execute("SELECT 'secret' AS prompt"))
    assert "sqlite3.Row" in str(caught.value.hint)


def nested(depth: int) -> Any:
    value: Any = "secret"
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


def cyclic(kind: type) -> Any:
    value = kind()
    value.append(value) if kind is list else value.update(a={"b": value})
    return value


def cyclic_model() -> Any:
    turn = Turn(at=datetime(2026, 1, 2, tzinfo=UTC))
    turn.inner = turn
    return turn


@pytest.mark.parametrize(
    "make",
    [
        lambda: nested(3000), lambda: nested(100_000), lambda: cyclic(list), lambda: cyclic(dict), cyclic_model,
    ],
)  # fmt: skip
@pytest.mark.parametrize("row", [None, {"prompt": "{more}", "completion": "{more}"}])
def test_a_row_that_is_nested_without_end_is_refused_with_its_number(make, row):
    rows = [{"prompt": "a", "more": "b", "completion": "b"}, {"prompt": "a", "completion": "b", "more": make()}]
    says = (
        f"training_data, row 1: {'prompt' if row else 'more'} is nested more than 200 levels deep, or contains itself"
    )
    with pytest.raises(InvalidSpec, match=says) as caught:
        lines(rows, row=row)
    assert "secret" not in str(caught.value)


def test_a_row_of_the_deepest_nesting_is_written_and_reported():
    assert json.loads(line(nested(199))) == {"prompt": "a", "more": nested(199), "completion": "b"}
    with pytest.raises(InvalidSpec, match="nested more than"):
        lines([{"prompt": "a", "more": nested(200), "completion": "b"}])


def test_a_row_of_a_file_that_is_infinite_is_refused_by_a_template_and_kept_by_a_split(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"prompt":"a","completion":"b"}\n{"prompt":Infinity,"completion":"b"}\n')
    with pytest.raises(InvalidSpec, match=r"train\.jsonl:2: prompt is infinite"):
        lines(path, row={"prompt": "{prompt}", "completion": "{completion}"})

    assert validate(path, validation_data=0.5).counts["jsonl.nan"] == 1


@pytest.mark.parametrize("library", ["rows", "pandas", "Arrow"])
def test_a_list_of_parts_stays_a_list_by_a_template(library):
    parts = [{"type": "text", "text": "Hi"}]
    rows = [{"q": parts, "r": "Ho"}]
    if library == "pandas":
        np = pytest.importorskip("numpy")
        rows = pytest.importorskip("pandas").DataFrame({"q": [np.array(parts, dtype=object)], "r": ["Ho"]})
    elif library == "Arrow":
        rows = pytest.importorskip("pyarrow").Table.from_pylist(rows)

    made = json.loads(lines(rows, row={"user": "{q}", "assistant": "{r}"}))
    assert made["messages"][0] == {"role": "user", "content": parts}


def test_values_inside_of_a_text_are_written_as_json_has_them():
    row = {"q": "x", "tags": ["a", None], "facts": {"b": True, "c": None}, "number": 2.0, "truth": False}
    made = json.loads(lines([row], row={"prompt": "{q} {tags} {facts} {number} {truth}", "completion": "{q}"}))

    assert made["prompt"] == 'x ["a",null] {"b":true} 2 false'


def test_a_key_that_may_be_the_text_of_a_row_is_cut():
    with pytest.raises(InvalidSpec, match=r"row 0: 'more\.My card 411'… is bytes") as caught:
        lines([{"prompt": "a", "more": {"My card 4111 1111 1111 1111": b""}}])
    assert "1111 1111" not in str(caught.value)
