"""Many connections, and clients that stand still."""

from __future__ import annotations

import json
import resource
import socket
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from support.in_process import served_here
from support.openai_jobs import chats, openai_for, slow_job, wait_for
from support.service import running_service, until

from tuneway.errors import InvalidSpec
from tuneway_service.connections import Connections, most_connections
from tuneway_service.settings import Settings

MOST = 6


class Clock:
    """A clock that the tests move on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def connections(clock):
    return Connections(MOST, clock=clock)


@pytest.fixture(scope="module")
def url(connections, scratch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuneway_service.server.TICKS", 1)
        with served_here(Settings(data_dir=scratch), connections) as url:
            yield url


@pytest.fixture
def connect(url, connections):
    """Make connections; all are closed when the test ends."""
    address = urlsplit(url)
    with ExitStack() as stack:

        def make(sent: bytes = b"", *, buffer: int | None = None) -> socket.socket:
            before = {id(one) for one in connections.open}
            made = stack.enter_context(socket.socket())
            if buffer:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            made.settimeout(10)
            made.connect((address.hostname, address.port))
            until(lambda: {id(one) for one in list(connections.open)} - before)
            made.sendall(sent)
            return made

        yield make
    until(lambda: not connections.open)


def ask(path: str = "/healthz") -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()


def upload(length: int = 100_000) -> bytes:
    """The beginning of an upload."""
    return (
        "POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


def rest_of(connection: socket.socket) -> bytes:
    """All that is still sent, until the service closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def status_of(connection: socket.socket) -> int:
    """The status of the next reply, which is read to its end."""
    with connection.makefile("rb") as reply:
        status = int(reply.readline().split()[1])
        headers = dict(line.strip().lower().split(b": ", 1) for line in iter(reply.readline, b"\r\n"))
        reply.read(int(headers[b"content-length"]))
    return status


def busy(connections: Connections) -> int:
    return sum(one._working for one in list(connections.open))


def test_headers_that_arrive_too_slowly_are_refused(connect, clock, connections):
    slow = connect(b"GET /v1/files HTTP/1.1\r\nhost: 127.0")
    until(lambda: all(one._begun for one in list(connections.open)))
    clock.now += 19
    slow.sendall(b".0.1\r\nx-more: ")
    clock.now += 2
    reply = rest_of(slow)
    assert reply.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


def test_a_connection_without_a_request_is_closed(connect, clock):
    silent = connect()
    clock.now += 21
    assert rest_of(silent) == b""


def test_a_connection_that_has_had_a_request_may_rest_for_longer(connect, clock, connections):
    kept = connect(ask())
    assert status_of(kept) == 200
    clock.now += 60
    silent = connect()
    clock.now += 21
    assert rest_of(silent) == b""
    kept.sendall(ask())
    assert status_of(kept) == 200


def test_a_body_that_stands_still_is_refused_and_nothing_of_it_is_kept(connect, clock, connections, scratch):
    stuck = connect(upload() + b"--b\r\n")
    until(lambda: busy(connections) and any((scratch / "scratch").iterdir()))
    clock.now += 31
    reply = rest_of(stuck)
    assert reply.startswith(b"HTTP/1.1 408 ")
    until(lambda: not any((scratch / "scratch").iterdir()))


def test_a_slow_but_steady_body_passes(connect, clock, connections):
    content = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    content += b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 20_000
    content += b"\r\n--b--\r\n"
    steady = connect(upload(len(content)))
    until(lambda: busy(connections))
    (served,) = connections.open
    for start in range(0, len(content), 4000):
        piece = content[start : start + 4000]
        steady.sendall(piece)
        if start + 4000 < len(content):
            until(lambda: served._received == 4000)
            clock.now += 31  # about 130 bytes a second
            until(lambda: served._received == 0)
    assert status_of(steady) == 200


def test_a_reply_that_nobody_reads_is_given_up(url, connect, clock, connections):
    form = {"files": {"file": ("a", b"x" * 16 * 2**20)}, "data": {"purpose": "user_data"}}
    file = httpx.post(f"{url}/files", **form).json()
    until(lambda: not connections.open)
    deaf = connect(ask(f"/v1/files/{file['id']}/content"), buffer=4096)
    (served,) = connections.open
    until(lambda: served._unsent)
    clock.now += 61
    until(lambda: not connections.open)
    assert len(rest_of(deaf)) < 16 * 2**20


def test_one_connection_too_many_takes_the_place_of_the_one_that_is_idle_longest(connect, connections):
    working = connect(upload())
    until(lambda: busy(connections) == 1)
    kept = connect(ask())
    assert status_of(kept) == 200
    silent = [connect() for _ in range(MOST - 2)]
    newest = connect(ask())
    assert status_of(newest) == 200
    assert rest_of(silent[0]) == b""
    for still in (kept, newest):
        still.sendall(ask())
        assert status_of(still) == 200
    working.sendall(b"x")


def test_a_client_is_turned_away_only_while_every_connection_is_at_work(connect, connections, url):
    working = [connect(upload()) for _ in range(MOST)]
    until(lambda: busy(connections) == MOST)
    reply = httpx.get(f"{url}/files")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"]["code"] == "too_many_connections"
    working[0].close()
    until(lambda: busy(connections) == MOST - 1)
    assert httpx.get(f"{url}/files").status_code == 200


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "most", "raised"),
    [
        (160, 160, None, 48, 160),
        (64, 400, None, 168, 400),
        (1024, 1_000_000, None, 2000, 4064),
        (200, 400, 20, 20, 200),
        (100, 400, 100, 100, 264),
        (100, resource.RLIM_INFINITY, 5000, 5000, 10_064),
    ],
)
def test_there_are_as_many_connections_as_the_limit_of_open_files_allows(monkeypatch, soft, hard, asked, most, raised):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert most_connections(asked) == most
    assert limits[-1] == (raised, hard)


@pytest.mark.parametrize(("hard", "asked", "need"), [(160, 100, 264), (70, None, 80)])
def test_too_low_a_limit_of_open_files_is_refused_with_what_is_needed(monkeypatch, hard, asked, need):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with pytest.raises(InvalidSpec, match=f"may have {hard} open files") as caught:
        most_connections(asked)
    assert caught.value.field == "max_connections"
    assert f"Allow {need} with `ulimit -n`" in (caught.value.hint or "")


def test_a_client_that_hangs_up_in_the_middle_is_no_error_of_the_service(service):
    address = urlsplit(service.base_url)
    with socket.create_connection((address.hostname, address.port)) as half:
        half.sendall(upload() + b"--b\r\n")
        until(lambda: any((service.data_dir / "scratch").iterdir()))
    until(lambda: not any((service.data_dir / "scratch").iterdir()))
    assert httpx.get(f"{service.base_url}/files").status_code == 200
    assert "Traceback" not in service.log


@contextmanager
def crowd(base_url: str, count: int, sent: bytes):
    """So many connections that send this and nothing more."""
    address = urlsplit(base_url)
    with ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
            with suppress(OSError):  # it was closed already, for another one
                one.sendall(sent)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET /v1/files HTTP/1.1\r\nhost: ", ask()], ids=["idle", "half", "kept"])
def test_400_connections_against_160_open_files_hinder_neither_jobs_nor_requests(sent):
    with running_service(open_files=160) as service, openai_for(service) as client:
        job = slow_job(client, epochs=1, rows=200)
        wait_for(client, job.id, "running")
        with crowd(service.base_url, 400, sent):
            assert client.fine_tuning.jobs.retrieve(job.id).id == job.id
            file = client.files.create(file=("train.jsonl", chats(40)), purpose="fine-tune")
            assert client.files.content(file.id).read() == chats(40)
            assert wait_for(client, job.id).status == "succeeded"
            assert wait_for(client, slow_job(client, epochs=1, rows=20).id).status == "succeeded"
        assert "Traceback" not in service.log
        assert len(service.log) < 2000
