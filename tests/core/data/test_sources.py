"""One data set, given in every way: the same rows give the same bytes, and so the same upload."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path, PurePath
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fault_server import FaultServer
from support.quick_service import QuickService

from tuneway import Recipe
from tuneway.data import GivenData, encode, name_of, stem_of, write_place
from tuneway.dataset import fingerprint, validate
from tuneway.dataset.ready import data_of_report
from tuneway.errors import InvalidInput, InvalidSpec
from tuneway.registry import questions_in

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {number} and – „{number}“?"},
            {"role": "assistant", "content": f"It is {number}.", "weight": number % 2},
        ]
    }
    for number in range(24)
]


def written(folder: Path, rows: list[dict[str, Any]] = ROWS, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows))
    return path


@pytest.fixture
def train(tmp_path) -> Path:
    return written(tmp_path)


def pandas_frame():
    return pytest.importorskip("pandas").DataFrame(ROWS)


def pandas_frame_of_floats():
    """pandas makes floats of integers wherever one is missing."""
    pandas = pytest.importorskip("pandas")
    rows = deepcopy(ROWS)
    frame = pandas.DataFrame({"messages": [row["messages"] for row in rows], "extra": [float("nan")] * len(ROWS)})
    for messages in frame["messages"]:
        messages[0]["weight"] = float("nan")
        messages[1]["weight"] = float(messages[1]["weight"])
    return frame


def polars_frame():
    return pytest.importorskip("polars").DataFrame(ROWS)


def lazy_polars_frame():
    return pytest.importorskip("polars").DataFrame(ROWS).lazy()


def arrow_table():
    """Arrow gives every struct the fields of all: the user's message has a weight that is null."""
    return pytest.importorskip("pyarrow").Table.from_pylist(ROWS)


def arrow_reader():
    return arrow_table().to_reader()


def duckdb_relation():
    rows = arrow_table()  # noqa: F841  # DuckDB finds it by its name
    return pytest.importorskip("duckdb").sql("SELECT * FROM rows")


def ibis_table():
    pytest.importorskip("ibis")
    from ibis import polars

    return polars.connect({"data": polars_frame()}).table("data")


FRAMES = [
    pandas_frame, pandas_frame_of_floats, polars_frame, lazy_polars_frame, arrow_table, arrow_reader, duckdb_relation,
    ibis_table,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("make", FRAMES, ids=lambda make: make.__name__)
def test_a_frame_gives_the_bytes_of_the_file(train, make):
    report = validate(make())

    assert report.ok
    assert (report.sha256, report.rows, report.unit) == (validate(train).sha256, len(ROWS), "row")


GIVEN = {
    "a list": lambda: ROWS,
    "a tuple": lambda: tuple(ROWS),
    "a generator": lambda: (row for row in ROWS),
    "a function": lambda: lambda: iter(ROWS),
    "a function that gives a list": lambda: lambda: ROWS,
}


@pytest.mark.parametrize("kind", GIVEN)
def test_rows_give_the_bytes_of_the_file(train, kind):
    assert validate(GIVEN[kind]()).sha256 == validate(train).sha256


def test_every_path_may_begin_with_the_home_folder(train, monkeypatch):
    monkeypatch.setenv("HOME", str(train.parent))
    held_out = written(train.parent, ROWS[:2], "held-out.jsonl")
    (train.parent / "prices.json").write_text('{"base": 1.0}')
    digest = validate(train).sha256

    for kind in (str, Path, PurePath):
        place = kind(f"~/{train.name}")
        report = validate(place)
        assert (report.sha256, report.path, name_of(place)) == (digest, str(train), str(train))
        assert validate(place, order="content").rows == len(ROWS)
        assert Recipe(model="base", training_data=place).training_data == train
        assert fingerprint(place).sha256 == digest
        assert validate(train, model="base", prices=kind("~/prices.json")).cost.usd_per_million == 1
        assert write_place(kind("~/page.html"), b"page", field="to") == str(train.parent / "page.html")
        with data_of_report(GivenData(training_data=place), report) as ready:
            assert ready.files[0].file == train
        if kind is not PurePath:
            assert questions_in(kind(f"~/{held_out.name}")) == questions_in(held_out)
    assert (train.parent / "page.html").read_bytes() == b"page"


def test_a_file_that_is_sent_as_it_is_may_begin_with_the_home_folder(train, monkeypatch, connect):
    monkeypatch.setenv("HOME", str(train.parent))
    with FaultServer(QuickService()) as server, connect(base_url=server.base_url) as client:
        assert client.files.create(f"~/{train.name}").bytes == train.stat().st_size


@pytest.mark.parametrize("text", ["~no-such-user/train.jsonl", "~\0/train.jsonl"])
def test_a_home_that_nobody_has_is_no_file(text):
    with pytest.raises(InvalidSpec, match=r"there is no file|is not a path"):
        validate(text)


@pytest.mark.parametrize("name", ["train.jsonl.gz", "TRAIN.JSONL.GZ", "train.parquet.GZ", "train.CSV.Gz", "t.Arrow.gZ"])
def test_the_end_of_a_name_may_be_in_capitals(tmp_path, name):
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    frame = polars.DataFrame([{"prompt": f"{number}", "completion": "x"} for number in range(20)])
    kind = name.lower().split(".")[1]
    write = {"jsonl": "ndjson", "arrow": "ipc"}.get(kind, kind)
    file = BytesIO()
    getattr(frame, f"write_{write}")(file)
    path = tmp_path / name
    path.write_bytes(gzip.compress(file.getvalue()))

    assert validate(path).sha256 == validate(frame).sha256
    assert stem_of(name) == name.partition(".")[0]


def test_a_zipped_file_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    content = bytearray(gzip.compress(b'{"messages": []}\n' * 2000))
    content[12:40] = bytes(28)
    path.write_bytes(content)
    with pytest.raises(InvalidSpec, match=r"train\.jsonl\.gz can't be read"):
        validate(path)


@pytest.mark.parametrize("name", ["train.parquet", "train.arrow", "train.feather"])
def test_a_file_of_a_frame_gives_the_same_bytes(tmp_path, train, name):
    table = arrow_table()
    path = tmp_path / name
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    else:
        pytest.importorskip("pyarrow.feather").write_feather(table, path)

    assert validate(path).sha256 == validate(train).sha256


def test_a_stream_of_arrow_gives_the_same_bytes(tmp_path, train):
    ipc = pytest.importorskip("pyarrow.ipc")
    table = arrow_table()
    with ipc.new_stream(tmp_path / "train.arrow", table.schema) as writer:
        writer.write_table(table)

    assert validate(tmp_path / "train.arrow").sha256 == validate(train).sha256


def test_a_compressed_file_is_its_content(tmp_path, train):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(train.read_bytes()))

    assert validate(path).sha256 == validate(train).sha256


def test_a_file_url_is_read_in_place(train):
    report = validate(train.as_uri())

    assert (report.path, report.sha256) == (str(train), validate(train).sha256)
    assert report.modified_ns


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content: bytes
    breaks = chunks = False
    headers_more: dict[str, str] = {}  # noqa: RUF012  # replaced, not changed

    def do_GET(self) -> None:
        if "missing" in self.path:
            self.send_error(403)
            return
        content = self.content[: len(self.content) // 2] if self.breaks else self.content
        self.send_response(200)
        for name, value in self.headers_more.items():
            self.send_header(name, value)
        if self.chunks:
            self.send_header("transfer-encoding", "chunked")
            content = b"%x\r\n%s\r\n" % (len(content), content)
        else:
            self.send_header("content-length", str(len(self.content)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(train) -> Iterator[tuple[str, type[Web]]]:
    class Handler(Web):
        content = train.read_bytes()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://someone:hunter2secret@127.0.0.1:{server.server_port}/data/train.jsonl?sig=hunter2secret", Handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_address_is_streamed_and_shown_without_secrets(web, train):
    url, _ = web
    report = validate(url)

    assert report.sha256 == validate(train).sha256
    assert report.path.startswith("http://127.0.0.1")
    assert report.path.endswith("/data/train.jsonl")


def test_the_secrets_of_a_web_address_are_in_no_log(web, caplog):
    url, _ = web
    caplog.set_level("DEBUG")

    validate(url)

    assert "GET http://127.0.0.1" in caplog.text
    assert "hunter2secret" not in caplog.text


@pytest.mark.parametrize("broken", ["missing", "off"])
def test_a_web_address_that_fails_is_named_without_secrets(web, broken):
    url, handler = web
    handler.breaks = broken == "off"
    with pytest.raises(InvalidInput) as caught:
        validate(url.replace("train", "missing") if broken == "missing" else url)

    assert "hunter2secret" not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert "127.0.0.1" in str(caught.value)


def test_a_store_of_fsspec_gives_the_same_bytes(train):
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/bucket/train.jsonl", train.read_bytes())

    assert validate("memory://bucket/train.jsonl").sha256 == validate(train).sha256


def test_a_path_that_opens_itself_gives_the_same_bytes(train):
    upath = pytest.importorskip("upath")
    path = upath.UPath("memory://bucket/opens-itself.jsonl")
    path.write_bytes(train.read_bytes())

    report = validate(path)

    assert (report.sha256, report.path) == (validate(train).sha256, "memory://bucket/opens-itself.jsonl")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://bucket/no-such-file.jsonl", "no such file"),
        ("memory://bucket", "can't be read: it is a folder"),
        ("nothing://bucket/train.jsonl", "no store is known for nothing://bucket/train.jsonl"),
        ("http://127.0.0.1:1/train.jsonl", "can't be read: Connection refused"),
    ],
)
def test_a_url_that_cannot_be_read_is_named(url, says):
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/bucket/some.jsonl", b"{}")
    with pytest.raises(InvalidSpec, match=says):
        validate(url)


def test_a_store_without_its_package_says_which_to_install(monkeypatch):
    fsspec = pytest.importorskip("fsspec")

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InvalidSpec, match="needs the package s3fs") as caught:
        validate("s3://bucket/train.jsonl")
    assert "pip install" in str(caught.value.hint)


def test_rows_of_an_iterator_cannot_be_read_twice():
    from tuneway.data import normal

    once = normal(row for row in ROWS)
    assert validate(once).rows == len(ROWS)
    with pytest.raises(InvalidSpec, match="has been read already"):
        validate(once)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{}", "a bytes is not data"),
        ({"messages": []}, "a dict is not data"),
        ('{"messages": ["secret words of a customer"]}', "neither a path nor a URL"),
        ("a line\nand one more", "neither a path nor a URL"),
        (object(), "a object is not data"),
        (["secret words of a customer"], "row 0: is a str, not a mapping"),
        ([ROWS[0], None, ROWS[1]], "row 1: is a NoneType, not a mapping"),
        (lambda: 7, "the function gave a int"),
        ([ROWS[0], {"messages": [{"role": "user", "content": object()}]}], r"row 1: messages\[0\].content is a object"),
        ([{"messages": {1: b"secret words"}}], "row 0: messages.1 is bytes"),
    ],
)
def test_what_is_not_data_is_refused_without_showing_it(data, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        validate(data)
    assert "secret words" not in f"{caught.value!r}{caught.value}{caught.value.hint}"


def test_columns_that_are_no_training_data_are_named_with_what_would_do():
    with pytest.raises(InvalidSpec, match="has the columns question, answer; training data has messages") as caught:
        validate([{"question": "secret words", "answer": "secret words"}])
    assert "row={'user': '{question}'" in str(caught.value.hint)
    assert "--row user=question" in str(caught.value.hint)
    assert "secret words" not in str(caught.value)


@pytest.mark.parametrize("row", [None, {"user": "{question}", "assistant": "{answer}"}])
def test_a_table_without_a_header_does_not_show_its_first_row_as_names_of_columns(tmp_path, row):
    path = tmp_path / "train.csv"
    path.write_text("What are the secret words of a customer?,The secret words,yes\n" * 3)
    with pytest.raises(InvalidSpec, match=r"'What are the sec'…, 'The secret words', yes") as caught:
        validate(path, row=row)
    assert "secret words of" not in str(caught.value)


def test_a_table_with_very_many_columns_shows_some_of_them():
    with pytest.raises(InvalidSpec, match=r"has the columns c0, .*, c19, …; training data") as caught:
        validate([{f"c{number}": "x" for number in range(500)}])
    assert "c20" not in str(caught.value)


def test_a_problem_names_the_row_of_the_list():
    rows = [*ROWS, {"messages": [{"role": "nobody", "content": "x"}]}]
    report = validate(rows)

    with pytest.raises(InvalidInput, match=r"training_data, row 24: chat.role messages\[0\].role"):
        report.raise_for_errors()


class Case(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, inner: dict[str, Any]) -> None:
        self._inner = inner

    def __getitem__(self, key: str) -> Any:
        return self._inner[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)


def test_what_frames_add_is_left_out_at_every_level():
    row = Case({"a": None, "b": float("nan"), "c": 2.0, "d": [1.0, None, float("nan"), {"e": None, "f": 1.5}]})

    assert encode(row) == b'{"c":2,"d":[1,null,null,{"f":1.5}]}\n'


def test_half_a_character_is_found_by_the_check():
    report = validate([*ROWS, {"messages": [{"role": "assistant", "content": "\ud83d"}]}])

    assert "jsonl.lone_surrogate" in report.counts


def test_numbers_times_and_models_become_json():
    from datetime import UTC, datetime
    from decimal import Decimal
    from uuid import UUID

    from pydantic import BaseModel

    class Turn(BaseModel):
        role: str

    row = {
        "d": Decimal("1.50"), "w": Decimal(2), "t": datetime(2026, 1, 2, tzinfo=UTC), "u": UUID(int=1),
        "m": Turn(role="user"),
    }  # fmt: skip
    assert json.loads(encode(row)) == {
        "d": 1.5,
        "w": 2,
        "t": "2026-01-02T00:00:00+00:00",
        "u": "00000000-0000-0000-0000-000000000001",
        "m": {"role": "user"},
    }


@pytest.mark.parametrize("name", ["broken.parquet", "broken.arrow", "broken.csv", "late.csv"])
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, name):
    pytest.importorskip("pyarrow")
    path = tmp_path / name
    head = b"prompt,completion\n" + b"a,b\n" * 200_000 if name.startswith("late") else b""
    path.write_bytes(head + b"secret words \xff\xfe of a customer\n")

    with pytest.raises(InvalidSpec, match=rf"training_data: .*{name}(:\d+)? isn't") as caught:
        validate(path)
    assert "secret words" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__cause__ is None


scalars = st.none() | st.booleans() | st.just(0.5) | st.text(max_size=5) | st.just("half \ud83d")
turns = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "bot"]), "content": st.text(max_size=5)})
odd_turns = st.fixed_dictionaries({}, optional={"role": scalars, "content": scalars, "weight": scalars})
chats = st.fixed_dictionaries(
    {"messages": st.lists(turns, max_size=3) | st.lists(turns | odd_turns | scalars, max_size=3) | scalars},
    optional={"more": scalars},
)


def found(data, **options):
    report = validate(data, tokenizer="estimate", **options)
    first = report.unit == "line"
    problems = [
        (one.rule, one.where, one.line and one.line - first, one.rule == "row.duplicate" or one.found)
        for one in report.errors + report.warnings
    ]
    return report.sha256, report.rows, report.format, report.counts, problems


@given(rows=st.lists(chats, max_size=70))
def test_rows_are_checked_as_their_file_is(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    rows = [ROWS[0], *rows]
    path.write_bytes(b"".join(map(encode, rows)))

    assert found(rows, format="chat") == found(path, format="chat")


def test_a_row_that_is_too_long_is_told_as_in_a_file(tmp_path):
    rows = [*ROWS, {"messages": [{"role": "assistant", "content": "x" * 3 * 2**20}]}]
    report = validate(rows, max_line_bytes=2**21)

    assert report.counts == validate(written(tmp_path, rows), max_line_bytes=2**21).counts
    assert report.counts["jsonl.line_too_long"] == 1
    assert validate(rows, max_line_bytes=2**22).ok


@pytest.mark.parametrize("how", [{}, {"order": "content"}, {"validation_data": 0.5}, {"row": {"prompt": "{a}"}}])
@pytest.mark.parametrize(
    ("name", "says"), [("no.jsonl", "there is no file"), ("no.csv", "there is no file"), ("", "a folder")]
)
def test_a_path_that_cannot_be_read_is_named_however_it_is_read(tmp_path, how, name, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        validate(tmp_path / name, **how)
    assert caught.value.field == "training_data"


@pytest.mark.parametrize("name", ["train.parquet", "train.arrow", "train.parquet.gz"])
def test_a_table_at_a_web_address_is_read(web, train, tmp_path, name):
    pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    polars.DataFrame(ROWS).write_parquet(tmp_path / "table") if "parquet" in name else polars.DataFrame(ROWS).write_ipc(
        tmp_path / "table"
    )
    url, handler = web
    content = (tmp_path / "table").read_bytes()
    handler.content = gzip.compress(content) if name.endswith(".gz") else content

    assert validate(url.replace("train.jsonl", name)).sha256 == validate(train).sha256


@pytest.mark.parametrize("how", [{}, {"order": "content"}, {"validation_data": 0.5}, {"row": {"prompt": "{prompt}"}}])
@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.jsonl.gz", "train.parquet"])
@pytest.mark.parametrize("length", [True, False])
def test_data_at_a_web_address_that_breaks_off_fails_whole(web, name, how, length):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    url, handler = web
    table = b"prompt,completion\n" + b"".join(b"%d %s,yes\n" % (number, b"x" * 200) for number in range(8000))
    rows = b"".join(b'{"prompt":"%d","completion":"yes"}\n' % number for number in range(60_000))
    handler.content = {"csv": table, "gz": gzip.compress(rows)}.get(name.rpartition(".")[2], rows)
    handler.breaks, handler.chunks = True, not length
    with pytest.raises(InvalidInput, match=rf"{name} (can't be read: it broke off after|ended early)") as caught:
        validate(url.replace("train.jsonl", name), **how)
    assert "Try again" in str(caught.value.hint)


@pytest.mark.parametrize("says", [True, False])
def test_a_compressed_file_is_read_whatever_a_server_says_of_its_transfer(web, train, says):
    url, handler = web
    handler.content = gzip.compress(train.read_bytes())
    handler.headers_more = {"content-encoding": "gzip"} if says else {}

    assert validate(url.replace("train.jsonl", "train.jsonl.gz")).sha256 == validate(train).sha256


def test_a_transfer_that_is_compressed_is_read(web, train):
    url, handler = web
    handler.content = gzip.compress(train.read_bytes())
    handler.headers_more = {"content-encoding": "gzip"}

    assert validate(url).sha256 == validate(train).sha256


@pytest.mark.parametrize("how", [{}, {"order": "content"}, {"validation_data": 0.5}, {"row": {"prompt": "{prompt}"}}])
@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train.csv.gz"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, name, how):
    path = tmp_path / name
    text = b"prompt,completion\n" + b"".join(b"%d %s,yes\n" % (number, b"x" * 200) for number in range(8000))
    if "csv" not in name:
        text = b"".join(b'{"prompt":"%d %s","completion":"yes"}\n' % (one, b"x" * 200) for one in range(8000))
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)

    def append(_: object) -> None:
        with path.open("ab") as file:
            file.write(gzip.compress(b"\n") if name.endswith("gz") else b"\n")

    with pytest.raises(InvalidSpec, match=rf"{name} changed while it was being read"):
        validate(path, on_progress=append, **how)


@pytest.mark.parametrize("how", [{}, {"order": "content"}])
@pytest.mark.parametrize("kind", ["parquet", "ipc"])
def test_a_table_that_is_damaged_in_its_middle_is_named(tmp_path, kind, how):
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    path = tmp_path / f"train.{'arrow' if kind == 'ipc' else kind}"
    frame = polars.DataFrame({"prompt": [f"{one} secret" for one in range(9000)], "completion": ["yes"] * 9000})
    getattr(frame, f"write_{kind}")(path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 900] = bytes(900)
    path.write_bytes(content)
    with pytest.raises(InvalidSpec, match=rf"{path.name} isn't a \w+ file that can be read") as caught:
        validate(path, **how)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_long_text_in_a_table_is_read(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("prompt,completion\n" + "".join(f"{number}{'x' * 200_000},yes\n" for number in range(3)))

    assert validate(path).rows == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"prompt,completion\na,b\na,\xff\n", r"train\.csv:3 isn't UTF-8"),
        (
            b'prompt,completion\na,b\na,"' + b"x" * 2**23 + b"\n",
            r"csv, after line 2: this isn't CSV: field larger",
        ),
        (b"prompt,completion,completion\na,b,c\n", r"train\.csv has the column completion twice"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_its_line(tmp_path, content, says):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidSpec, match=says):
        validate(path)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_one_column_alone_is_refused_with_what_would_do(library):
    pytest.importorskip("pyarrow")
    column = pytest.importorskip(library).Series([1, 2])
    with pytest.raises(InvalidSpec, match=f"a {library} Series is one column, not a table") as caught:
        validate(column)
    assert "to_frame" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("row", "says"), [({"user": "{a}"}, "row 1: user is bytes"), ({"user": "Say {a}."}, "row 1: a is bytes")]
)
def test_a_value_that_a_template_cannot_write_is_named_by_its_field(row, says):
    with pytest.raises(InvalidSpec, match=says):
        validate([{"a": "x"}, {"a": b"secret words"}], row=row)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://someone:hunter2secret@127.0.0.1:1/train.jsonl",
        "zip://train.jsonl::https://someone:hunter2secret@127.0.0.1:1/train.zip?sig=hunter2secret",
        "refusing://someone:hunter2secret@bucket/train.jsonl",
    ],
)
def test_a_store_that_cannot_be_set_up_is_named_without_secrets(url):
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no account for hunter2secret")

    refusing = type("Refusing", (fsspec.AbstractFileSystem,), {"__init__": refuse})
    fsspec.register_implementation("refusing", refusing, clobber=True)
    with pytest.raises(InvalidSpec, match=r"train\.\S+ can't be read: ") as caught:
        validate(url)
    assert "hunter2secret" not in f"{caught.value!r} {caught.value} {caught.value.hint}"


def test_a_store_whose_package_is_not_named_as_it_is_says_which_to_install(monkeypatch):
    fsspec = pytest.importorskip("fsspec")

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install huggingface_hub to access HfFileSystem")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InvalidSpec, match="needs a package that isn't installed") as caught:
        validate("hf://datasets/someone/train.jsonl")
    assert "huggingface_hub" in str(caught.value.hint)


@pytest.mark.parametrize("scheme", ["simplecache::memory", "MEMORY"])
def test_a_url_of_a_store_may_be_joined_or_in_capitals(train, scheme):
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/bucket/joined.jsonl", train.read_bytes())

    assert validate(f"{scheme}://bucket/joined.jsonl").sha256 == validate(train).sha256


def test_an_address_of_ipv6_is_shown_as_it_is():
    from tuneway.data import name_of

    assert name_of("http://someone:secret@[2001:db8::1]/train.jsonl") == "http://[2001:db8::1]/train.jsonl"
