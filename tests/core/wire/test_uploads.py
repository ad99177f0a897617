"""Uploads: the exact bytes, odd names, flat memory, parts of large files, and nothing sent twice."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from blockbuster import blockbuster_ctx
from support import fault_server as faults
from support.fault_server import FaultServer

from tuneway import AsyncClient, InvalidDataset, dialects
from tuneway.errors import BadRequest, ConnectionLost, InvalidInput
from tuneway.flows import Retry, hash_in
from tuneway.progress import Checking, DataChecked, FileReused, FileUploaded, News, Sent

MEGABYTE = 1024 * 1024
QUICK: dict[str, Any] = {"settle": 0, "retry": Retry(first=0.001)}
LINE = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho %d"}]}\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(LINE % number for number in range(12)))
    return path


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that takes 1 kB a request, and parts of 256 bytes."""
    frugal = replace(dialects.OPENAI_WIRE, file_limit=1024, part_size=256)
    monkeypatch.setattr(dialects, "DIALECTS", (frugal,))


# --- The bytes. ---


def parsed(body: bytes, content_type: str) -> list[tuple[str, str | None, bytes]]:
    """What another library makes of a form."""
    multipart = pytest.importorskip("python_multipart")
    found: list[tuple[str, str | None, bytes]] = []
    parser = multipart.FormParser(
        "multipart/form-data",
        on_field=lambda field: found.append((field.field_name.decode(), None, field.value)),
        on_file=lambda file: found.append(
            (file.field_name.decode(), file.file_name.decode(), (file.file_object.seek(0), file.file_object.read())[1])
        ),
        boundary=content_type.partition("boundary=")[2].encode(),
    )
    parser.write(body)
    parser.finalize()
    return found


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\r\n", b"--", b"\r\n--", b"--boundary--\r\n", bytes(range(256)) * 5, b"\r\n--" * 100_000],
    ids=["empty", "one byte", "line end", "dashes", "seam", "boundary", "all bytes", "seams"],
)
def test_a_form_is_understood_by_another_library(content, connect, server):
    with connect(base_url=server.base_url) as client:
        client.files.create(content, filename="data.jsonl", purpose="evals", expires_after=7200)
    arrival = server.arrived[0]
    assert int(arrival.header("content-length")) == arrival.size == len(arrival.body)
    assert parsed(arrival.body, arrival.header("content-type")) == [
        ("purpose", None, b"evals"),
        ("expires_after[anchor]", None, b"created_at"),
        ("expires_after[seconds]", None, b"7200"),
        ("file", "data.jsonl", content),
    ]


@pytest.mark.parametrize(
    ("name", "arrives"),
    [
        ("plain.jsonl", "plain.jsonl"),
        ("two words.jsonl", "two words.jsonl"),
        ("naïve 数据 🦜.jsonl", "naïve 数据 🦜.jsonl"),
        ('say "hi".jsonl', "say %22hi%22.jsonl"),
        ("line\nend\r.jsonl", "line%0Aend%0D.jsonl"),
        ("semi;colon=1.jsonl", "semi;colon=1.jsonl"),
        ("per%cent.jsonl", "per%cent.jsonl"),
        ("no suffix", "no suffix"),
        (".hidden", ".hidden"),
        ("any\udcffbytes.jsonl", "any?bytes.jsonl"),
    ],
)
def test_a_file_may_have_any_name(name, arrives, connect, server):
    with connect(base_url=server.base_url) as client:
        client.files.create(b"x", filename=name)
    arrival = server.arrived[0]
    (_, (_, filename, content)) = parsed(arrival.body, arrival.header("content-type"))
    assert (filename, content) == (arrives, b"x")


def test_a_file_is_called_as_on_disk_unless_it_is_named(connect, server, tmp_path):
    path = tmp_path / "on disk.jsonl"
    path.write_bytes(b"x")
    with connect(base_url=server.base_url) as client:
        for source, name in ((path, None), (str(path), None), (path, "other.jsonl"), (b"x", None)):
            client.files.create(source, filename=name)
    assert [arrival.parts[-1].named("filename") for arrival in server.arrived] == [
        "on disk.jsonl", "on disk.jsonl", "other.jsonl", "data.jsonl",
    ]  # fmt: skip


def test_a_name_of_undecodable_bytes_can_be_uploaded(connect, server, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd-\xff.jsonl"))
    path.write_bytes(b"x")
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(path, validate=False)
        assert client.upload(path, validate=False).id == file.id
    assert hash_in(file.filename) == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("what", ["absent", "a folder"])
def test_a_file_that_cannot_be_read_is_refused_and_nothing_is_sent_in_full(what, connect, server, tmp_path):
    path = tmp_path / "absent.jsonl" if what == "absent" else tmp_path
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(InvalidInput, match="can't read"):
        client.files.create(path)
    assert server.service.files == []


# --- A file that changes under our hands. ---


class Changing:
    """A listener that changes the file when the first piece has gone out."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size

    def __call__(self, news: News) -> None:
        if isinstance(news, Sent) and self.path.stat().st_size != self.size:
            os.truncate(self.path, self.size)


@pytest.mark.parametrize("size", [MEGABYTE // 2, 9 * MEGABYTE], ids=["shrinks", "grows"])
def test_a_file_that_changes_while_it_is_sent_is_not_uploaded(size, connect, server, tmp_path):
    path = tmp_path / "changing.jsonl"
    path.write_bytes(bytes(3 * MEGABYTE))
    with (
        connect(base_url=server.base_url, **QUICK) as client,
        pytest.raises(InvalidInput, match="changed while it was being uploaded"),
    ):
        client.upload(path, validate=False, on_event=Changing(path, size))
    assert server.service.files == []


def test_a_file_of_the_same_size_that_was_written_after_its_check_is_not_uploaded(connect, server, data):
    with connect(base_url=server.base_url, **QUICK) as client:
        report = client.validate(data)
        data.write_bytes(data.read_bytes().replace(b"user", b"USER"))
        with pytest.raises(InvalidInput, match="changed while it was being uploaded"):
            client.upload(data, report=report)
    assert server.service.files == []


def test_a_report_spares_the_second_reading(connect, server, data, monkeypatch):
    with connect(base_url=server.base_url, **QUICK) as client:
        report = client.validate(data)
        monkeypatch.setattr("tuneway.dataset.validate", lambda *_args, **_options: pytest.fail("read once more"))
        monkeypatch.setattr("tuneway.dataset.fingerprint", lambda *_args: pytest.fail("read once more"))
        file = client.upload(data, report=report)
    assert hash_in(file.filename) == report.sha256


def test_a_report_about_another_file_is_refused(connect, server, data, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(data.read_bytes())
    with (
        connect(base_url=server.base_url, **QUICK) as client,
        pytest.raises(InvalidInput, match="the report is about other files"),
    ):
        client.upload(other, report=client.validate(data))
    assert server.arrived == []


GIVEN = [
    lambda made: made,
    lambda made: lambda: iter(made),
    lambda made: (row for row in made),
]


@pytest.mark.parametrize("given", GIVEN, ids=["a list", "a function", "a generator for each"])
def test_rows_are_uploaded_with_the_report_of_their_check(given, connect, server):
    made = [json.loads(line) for line in rows(0, 20).splitlines()]
    with connect(base_url=server.base_url, **QUICK) as client:
        report = client.validate(given(made), validation_data=0.5)
        file = client.upload(given(made), validation_data=0.5, report=report)
    assert hash_in(file.filename) == report.sha256
    assert (file.rows, file.validation.rows) == (report.rows, report.validation.rows)


def test_rows_are_refused_with_the_report_about_others(connect, server, data):
    made = [json.loads(line) for line in rows(0, 20).splitlines()]
    with connect(base_url=server.base_url, **QUICK) as client:
        for report, why in (
            (client.validate(made[1:]), "has changed since it was checked"),
            (client.validate(data), "the report is about other files"),
        ):
            with pytest.raises(InvalidInput, match=why):
                client.upload(made, report=report)
    assert server.arrived == []


# --- A pair of files. ---


def rows(start: int, count: int) -> bytes:
    return b"".join(
        b'{"messages": [{"role": "user", "content": "%d"}, {"role": "assistant", "content": "ok"}]}\n' % n
        for n in range(start, start + count)
    )


def pair(tmp_path: Path, valid: bytes) -> tuple[Path, Path]:
    train, held_out = tmp_path / "train.jsonl", tmp_path / "valid.jsonl"
    train.write_bytes(rows(0, 20))
    held_out.write_bytes(valid)
    return train, held_out


def test_both_files_of_a_pair_are_uploaded(connect, server, tmp_path):
    train, held_out = pair(tmp_path, rows(100, 5))
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(train, validation_data=held_out)
    assert [file.id, file.validation.id] == [sent["id"] for sent in server.service.files]
    assert (file.bytes, file.validation.bytes) == (len(rows(0, 20)), len(rows(100, 5)))


def test_an_uploaded_file_has_the_rows_and_tokens_that_its_check_counted(connect, server, tmp_path):
    train, held_out = pair(tmp_path, rows(100, 5))
    with connect(base_url=server.base_url, **QUICK) as client:
        report = client.validate(train, validation_data=held_out)
        checked = [client.upload(train, validation_data=held_out, **given) for given in ({}, {"report": report})]
        unchecked = client.upload(train, validation_data=held_out, validate=False)
    for file in checked:
        assert (file.rows, file.validation.rows) == (20, 5)
        assert (file.tokens, file.validation.tokens) == (report.tokens.total, report.validation.tokens.total)
    assert (unchecked.rows, unchecked.tokens, unchecked.validation.rows) == (None, None, None)
    assert {file.id for file in [*checked, unchecked]} == {unchecked.id}


def test_five_rows_of_validation_data_are_uploaded_alone_as_in_a_pair(connect, server, tmp_path):
    _, held_out = pair(tmp_path, rows(100, 5))
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.upload(validation_data=held_out).bytes == len(rows(100, 5))
        with pytest.raises(InvalidDataset, match=r"file\.too_few_rows"):
            client.upload(held_out)


def test_an_overlap_of_the_pair_is_refused_and_nothing_is_sent(connect, server, tmp_path):
    train, held_out = pair(tmp_path, rows(19, 12))
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(InvalidDataset, match=r"row\.overlap"):
        client.upload(train, validation_data=held_out)
    assert server.arrived == []


def test_no_data_at_all_is_refused(connect, server):
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(InvalidInput, match="there is no data"):
        client.upload()
    assert server.arrived == []


# --- Sent once. ---


def test_an_upload_is_checked_hashed_and_sent_once(connect, server, data):
    told: list[News] = []
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(data, on_event=told.append)
        again = client.upload(data, on_event=told.append)
    assert again.id == file.id
    assert hash_in(file.filename) == hashlib.sha256(data.read_bytes()).hexdigest()
    assert server.service.contents[file.id] == data.read_bytes()
    assert len(server.asked("POST", "/files")) == 1
    ends = [news for news in told if isinstance(news, FileUploaded | FileReused)]
    assert [type(news) for news in ends] == [FileUploaded, FileReused]
    sent = [news for news in told if isinstance(news, Sent)]
    assert sent[-1] == Sent(data.stat().st_size, data.stat().st_size)


def test_what_the_check_of_a_pair_found_is_told_before_anything_is_sent(connect, server, data, tmp_path):
    valid = tmp_path / "valid.jsonl"
    valid.write_bytes(b"".join(LINE % number for number in range(20, 25)))
    told: list[tuple[int, News]] = []
    with connect(base_url=server.base_url, **QUICK) as client:
        client.upload(data, validation_data=valid, on_event=lambda news: told.append((len(server.arrived), news)))
    ((requests, news),) = [one for one in told if isinstance(one[1], DataChecked)]
    assert requests == 0
    assert str(news) == f"checked {data}: 12 rows, errors: 0; {valid}: 5 rows, errors: 0"


def test_data_with_errors_is_not_sent(connect, server, data):
    data.write_bytes(data.read_bytes() + b"not JSON\n")
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(InvalidDataset) as caught:
        client.upload(data)
    assert server.arrived == []
    assert "13" in str(caught.value), "the line is named"


def test_an_upload_whose_reply_is_lost_is_found_and_not_repeated(connect, server, data):
    server.fault(faults.drop_after(), "POST", "/files")
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(data)
    assert [kept["id"] for kept in server.service.files] == [file.id]
    assert len(server.asked("POST")) == 1


@pytest.mark.parametrize("error", [RuntimeError("enough"), BrokenPipeError("no more"), TimeoutError("late")], ids=repr)
@pytest.mark.parametrize("kind", [Checking, Sent])
@pytest.mark.parametrize("small", [True, False])
def test_a_listener_that_raises_ends_the_upload_with_its_own_error(kind, small, error, connect, server, data):
    if not small:
        data.write_bytes(b"".join(LINE % number for number in range(12_000)))

    def listen(news: News) -> None:
        if isinstance(news, kind):
            raise error

    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(type(error)) as caught:
        client.upload(data, on_event=listen)
    assert caught.value is error
    assert server.service.files == []


async def test_a_cancelled_check_ends_early(server, tmp_path):
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"".join(LINE % number for number in range(200_000)))
    started = asyncio.Event()
    async with AsyncClient(base_url=server.base_url) as client:
        task = asyncio.create_task(client.validate(path, on_event=lambda _news: started.set()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert str(path) not in open_files() or await closes(path)


async def closes(path: Path) -> bool:
    """Whether the thread that reads it lets go of it, long before it could have read it all."""
    async with asyncio.timeout(2):
        while str(path) in open_files():  # noqa: ASYNC110 - it happens in another thread
            await asyncio.sleep(0.001)
    return True


# --- Parts. ---


def test_a_file_above_the_limit_goes_in_parts(connect, server, data, small_parts):
    size = data.stat().st_size
    assert size > 1024
    told: list[News] = []
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(data, on_event=told.append)
        assert client.upload(data).id == file.id
    assert server.service.contents[file.id] == data.read_bytes()
    parts = server.asked("POST", "/uploads/.*/parts")
    assert [arrival.parts[0].size for arrival in parts] == [256] * (size // 256) + [size % 256]
    assert server.asked("POST", "/uploads")[0].json["bytes"] == size
    assert len(server.asked("POST", "/uploads/.*/complete")) == 1
    sent = [news.done for news in told if isinstance(news, Sent)]
    assert sent == sorted(sent)
    assert sent[-1] == size
    assert {news.total for news in told if isinstance(news, Sent)} == {size}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/uploads"), ("POST", "/uploads/[^/]+/parts"), ("POST", "/uploads/[^/]+/complete"), ("GET", "/files")],
)
@pytest.mark.parametrize("fault", [faults.drop_before(), faults.drop_after(), faults.cut(20), faults.reset_after()])
def test_a_fault_at_any_step_of_the_parts_leaves_one_file(fault, method, path, connect, server, data, small_parts):
    server.fault(fault, method, path)
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(data)
    assert [kept["id"] for kept in server.service.files] == [file.id]
    assert server.service.contents[file.id] == data.read_bytes()


def test_an_upload_by_hand_follows_the_same_steps(connect, server):
    with connect(base_url=server.base_url, **QUICK) as client:
        upload = client.uploads.create(filename="a.jsonl", bytes=6)
        parts = [client.uploads.add_part(upload.id, data=piece) for piece in (b"abc", b"def")]
        with pytest.raises(BadRequest, match="add up"):
            client.uploads.complete(upload.id, part_ids=[parts[0].id])
        done = client.uploads.complete(upload.id, part_ids=[part.id for part in reversed(parts)])
        assert client.files.content(done.file.id) == b"defabc"


# --- Streams. ---


class Watched(io.FileIO):
    """A file that knows who reads it; blockbuster sees buffered reads alone."""

    readers: ClassVar[set[threading.Thread]] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.readers.add(threading.current_thread())
        return super().read(size)


async def test_an_asyncio_upload_never_blocks_the_loop(server, tmp_path, monkeypatch):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(20 * MEGABYTE)
    monkeypatch.setattr(Watched, "readers", set())
    monkeypatch.setattr(Path, "open", lambda self, *_, **__: Watched(self))
    told: list[News] = []
    async with AsyncClient(base_url=server.base_url, **QUICK) as client:
        with blockbuster_ctx():
            await client.files.create(path)
            await client.upload(path, validate=False, on_event=told.append)
    assert threading.current_thread() not in Watched.readers != set()
    assert [arrival.parts[-1].size for arrival in server.asked("POST")] == [20 * MEGABYTE] * 2
    assert len([news for news in told if isinstance(news, Sent)]) == 20


def open_files() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found.add(str(link.readlink()))
    return found


async def test_a_cancelled_asyncio_upload_lets_go_of_its_file_and_connection(server, tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(64 * MEGABYTE)
    server.fault(faults.Fault(faults.silent().act, early=True))
    async with AsyncClient(base_url=server.base_url, **QUICK) as client:
        task = asyncio.create_task(client.files.create(path))
        while not server.arrived:  # noqa: ASYNC110 - it happens in the server's thread
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client._http._transport._pool.connections == []  # type: ignore[attr-defined]
        assert str(path) not in open_files() or await closes(path)


@pytest.mark.slow
def test_a_slow_upload_may_take_longer_than_the_timeout(connect, server, tmp_path):
    """The time-out is for what doesn't move: each piece that goes out starts it anew."""
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(12 * MEGABYTE)
    server.reads_at = 4 * MEGABYTE
    with connect(base_url=server.base_url, retry=Retry(attempts=1), timeout=2.0) as client:
        for source in (path, path.read_bytes()):
            assert client.files.create(source).bytes == 12 * MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_memory_stays_flat_whatever_the_size(kind, tmp_path):
    """600 MB that take no room on disk; the client runs alone in a process, so that its memory is its own."""
    with FaultServer() as server:
        peaks = []
        for size in (1, 600):
            path = tmp_path / f"{size}.jsonl"
            with path.open("wb") as file:
                file.truncate(size * MEGABYTE)
            result = subprocess.run(
                [sys.executable, "-c", UPLOAD[kind], server.base_url, str(path)],
                check=True, capture_output=True, text=True, timeout=100,
            )  # fmt: skip
            peaks.append(int(result.stdout))
        sent = server.asked("POST", "/files|/uploads/.*/parts")
        assert sum(arrival.parts[-1].size for arrival in sent) == 601 * MEGABYTE
    assert peaks[1] - peaks[0] < 16 * 1024, f"kB at 1 and at 600 MB: {peaks}"


HEAD = """
import asyncio, resource, sys
from tuneway import AsyncClient, Client
from tuneway.flows import Retry
options = {"base_url": sys.argv[1], "settle": 0, "retry": Retry(attempts=1)}
"""
TAIL = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
UPLOAD = {
    "sync": HEAD + """
with Client(**options) as client:
    client.files.create(sys.argv[2])
""" + TAIL,
    "async": HEAD + """
async def main():
    async with AsyncClient(**options) as client:
        await client.files.create(sys.argv[2])
asyncio.run(main())
""" + TAIL,
}  # fmt: skip


def test_a_lost_connection_in_the_middle_of_a_body_may_have_counted(connect, server, tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(32 * MEGABYTE)

    async def act(line: faults.Line) -> None:
        line.reset()

    server.fault(faults.Fault(act, early=True))
    with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client, pytest.raises(ConnectionLost) as caught:
        client.files.create(path)
    assert caught.value.processed is None
