"""Whatever happens on the wire, one of our errors comes out, in time, and says whether the request may have counted."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import fault_server as faults
from support.fault_server import Fault, FaultServer, answer, raw, serialise
from support.operations import SPEC
from support.stack import free_port

from tuneway import AsyncClient, Client
from tuneway.calls import Response
from tuneway.errors import (
    BadReply,
    ConnectionFailed,
    ConnectionLost,
    InvalidInput,
    RequestTimeout,
    ServerError,
    TransportError,
    TunewayError,
)
from tuneway.flows import Retry

TIMEOUT = 0.2
ONCE = {"retry": Retry(attempts=1), "timeout": 5.0}  # more than a busy machine needs
HASTY = ONCE | {"timeout": TIMEOUT}

WHOLE = serialise(Response(200, {"content-type": "application/json"}, b'{"id": "ftjob-1", "status": "queued"}'))
HEAD, BODY = WHOLE[: WHOLE.index(b"{")], WHOLE[WHOLE.index(b"{") :]
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


FAULTS: dict[str, tuple[Fault, type[TransportError]]] = {
    "dropped before": (faults.drop_before(), ConnectionLost),
    "dropped after": (faults.drop_after(), ConnectionLost),
    "reset after": (faults.reset_after(), ConnectionLost),
    "cut in the status line": (faults.cut(7), ConnectionLost),
    "cut in the headers": (faults.cut(len(HEAD) - 3), ConnectionLost),
    "cut in the body": (raw(WHOLE[:-5]), ConnectionLost),
    "never answered": (faults.silent(acts=True), RequestTimeout),
    "too late": (faults.late(5.0), RequestTimeout),
    "headers, a byte at a time": (faults.drip(WHOLE), RequestTimeout),
    "body, a byte at a time": (faults.drip(WHOLE, at_once=len(HEAD)), RequestTimeout),
    "endless headers": (raw(endless(b"x-more: 1\r\n" * 100)), ConnectionLost),
    "endless first line": (raw(endless(b"HTTP" * 1000)), ConnectionLost),
    "endless 100s": (raw(endless(b"HTTP/1.1 100 Continue\r\n\r\n")), RequestTimeout),
    "a 100 and no more": (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), ConnectionLost),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), ConnectionLost),
    "another version": (raw(b"HTTP/9.9 200 OK\r\n\r\n{}"), BadReply),
    "no status": (raw(b"HTTP/1.1 OK\r\n\r\n"), ConnectionLost),
    "zeros": (raw(b"\0" * 4096), ConnectionLost),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 9\r\n\r\n{} "), ConnectionLost),
    "negative length": (raw(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}"), ConnectionLost),
    "length of no bytes": (raw(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}"), ConnectionLost),
    "chunk of no size": (raw(CHUNKED + b"size?\r\n{}\r\n0\r\n\r\n"), ConnectionLost),
    "chunk of negative size": (raw(CHUNKED + b"-5\r\n{}\r\n0\r\n\r\n"), ConnectionLost),
    "chunk larger than all memory": (raw(CHUNKED + b"fffffffffffffffff\r\n{}"), ConnectionLost),
    "chunks without an end": (raw(CHUNKED + b"2\r\n{}\r\n"), ConnectionLost),
    "a line of chunk extensions": (raw([CHUNKED, b"2;" + b"a=b;" * 50_000 + b"\r\n{}\r\n0\r\n\r\n"]), ConnectionLost),
    "headers of nonsense": (raw(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}"), ConnectionLost),
    "switching protocols": (raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: tea\r\n\r\n"), ConnectionLost),
    "redirect": (answer(b"", 307, location="http://127.0.0.1:1/elsewhere"), BadReply),
    "redirect to nowhere": (answer(b"", 301), BadReply),
    "sent on to nonsense": (raw(b"HTTP/1.1 302 Found\r\nlocation: http://[::1\xff\r\n\r\n"), ConnectionLost),
    "not modified": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), BadReply),
    "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), BadReply),
    "brotli": (answer(b"\x0b\x02\x80{}\x03", content_encoding="br"), BadReply),
    "zstandard": (answer(b"(\xb5/\xfd", content_encoding="zstd"), BadReply),
    "twice compressed": (answer(b"\x1f\x8b", content_encoding="gzip, gzip"), BadReply),
    "not compressed after all": (answer(b'{"id": "x", "status": "queued"}', content_encoding="gzip"), BadReply),
}


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"took {took:.2f} s"


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("operation", ["look", "create"])
def test_a_fault_is_one_of_our_errors_and_may_have_counted(name, operation, connect, server):
    fault, kind = FAULTS[name]
    server.service.add_job()
    server.fault(fault)
    options = HASTY if kind is RequestTimeout else ONCE
    with connect(base_url=server.base_url, **options) as client, within(TIMEOUT + 2.0), pytest.raises(kind) as caught:
        client.jobs.retrieve("ftjob-1") if operation == "look" else client.jobs.create(SPEC)
    assert caught.value.processed is None
    assert caught.value.hint or isinstance(caught.value, ConnectionLost | RequestTimeout | BadReply)
    assert caught.value.retryable is not ("redirect" in name or caught.value.status == 304)
    assert len(server.arrived) == 1


FINE = {
    "told to continue first": raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + WHOLE),
    "without a length": raw(b"HTTP/1.0 200 OK\r\n\r\n" + BODY),
    "in chunks of one byte": raw(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"),
    "chunks with extensions and trailers": raw(
        CHUNKED + b"%x;a=b\r\n%s\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(BODY), BODY)
    ),
    "a few bytes at a time": raw([WHOLE[at : at + 7] for at in range(0, len(WHOLE), 7)]),
    "with a wrong content type": answer(BODY, kind="text/html; charset=nonsense"),
    "with more behind it": raw(WHOLE + b"HTTP/1.1 500 Not yours\r\n\r\n"),
}


@pytest.mark.parametrize("name", FINE)
def test_an_unusual_but_valid_reply_is_accepted(name, connect, server):
    server.fault(FINE[name])
    with connect(base_url=server.base_url, **ONCE) as client:
        assert client.jobs.retrieve("ftjob-1").status == "queued"


def test_a_slow_reply_within_the_time_is_taken(connect, server):
    server.service.add_job()
    server.fault(faults.late(0.1))
    with connect(base_url=server.base_url, timeout=5.0) as client:
        assert client.jobs.retrieve("ftjob-1").id == "ftjob-1"


# --- Never connected: surely not processed. ---


@contextmanager
def full_house() -> Iterator[int]:
    """A port whose queue is full: connecting to it hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        queue = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            queue.append(sock)
        try:
            yield port
        finally:
            for sock in queue:
                sock.close()


@contextmanager
def mute() -> Iterator[int]:
    """A port that accepts, and says nothing: a TLS handshake with it hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


def expect_unreached(connect: Any, base_url: str, **options: Any) -> ConnectionFailed:
    with (
        connect(base_url=base_url, **(HASTY | options)) as client,
        within(TIMEOUT + 2.0),
        pytest.raises(ConnectionFailed) as caught,
    ):
        client.jobs.create(SPEC)
    assert caught.value.processed is False
    return caught.value


def test_a_refused_connection_sent_nothing(connect):
    assert expect_unreached(connect, f"http://127.0.0.1:{free_port()}/v1").retryable


def test_a_connection_that_is_never_made_sent_nothing(connect):
    with full_house() as port:
        assert expect_unreached(connect, f"http://127.0.0.1:{port}/v1").retryable


def test_many_addresses_share_one_time(connect, monkeypatch):
    with full_house() as port:
        dead_end = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        many = [dead_end] * 30
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: many if "many" in str(host) else [dead_end])
        expect_unreached(connect, f"http://many.localhost:{port}/v1")


def test_a_handshake_that_never_ends_sent_nothing(connect):
    with mute() as port:
        assert expect_unreached(connect, f"https://127.0.0.1:{port}/v1").retryable


def test_a_handshake_with_a_server_without_tls_sent_nothing(connect, server):
    expect_unreached(connect, server.base_url.replace("http:", "https:"))
    assert server.arrived == []


def test_a_host_that_does_not_exist_sent_nothing(connect, monkeypatch):
    def resolve(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error = expect_unreached(connect, "https://api.tuneway.invalid/v1", api_key="k")
    assert "api.tuneway.invalid" in str(error)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody vouches for."""
    path = tmp_path_factory.mktemp("tls") / "self-signed.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    try:
        subprocess.run([*command, *names, "-keyout", path, "-out", path], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl program")
    return path


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[FaultServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FaultServer(tls=context) as server:
        yield server


def test_an_untrusted_certificate_is_not_tried_again(connect, tls_server):
    error = expect_unreached(connect, tls_server.base_url, timeout=10.0)
    assert not error.retryable
    assert "verify" in str(error)
    assert tls_server.arrived == []


@pytest.mark.parametrize("fault", [faults.drop_after(), faults.reset_after(), faults.cut(60)])
def test_tls_that_breaks_off_is_a_lost_connection(fault, connect, tls_server, certificate):
    trusting = ssl.create_default_context(cafile=certificate)
    tls_server.fault(fault)
    http = (httpx.Client if connect is Client else httpx.AsyncClient)(verify=trusting)
    with (
        connect(base_url=tls_server.base_url, http=http, retry=Retry(attempts=1)) as client,
        pytest.raises(ConnectionLost) as caught,
    ):
        client.jobs.create(SPEC)
    assert caught.value.processed is None
    assert len(tls_server.service.jobs) == 1


def test_a_slow_tls_handshake_ends_by_the_timeout(connect, tls_server, certificate):
    http = (httpx.Client if connect is Client else httpx.AsyncClient)(
        verify=ssl.create_default_context(cafile=certificate)
    )
    tls_server.fault(faults.drip(WHOLE))
    options = ONCE | {"timeout": 0.5}
    with connect(base_url=tls_server.base_url, http=http, **options) as client, within(3.0):  # noqa: SIM117
        with pytest.raises(RequestTimeout):
            client.jobs.retrieve("ftjob-1")


# --- Connections that are used again. ---


def test_a_connection_closed_meanwhile_is_noticed_before_it_is_used(connect, server):
    server.service.add_job()
    server.fault(faults.hang_up_afterwards())
    with connect(base_url=server.base_url, **ONCE) as client:
        client.jobs.retrieve("ftjob-1")
        while server.open_connections:
            time.sleep(0.001)
        assert client.jobs.create(SPEC).id == "ftjob-2"
    assert server.connections == 2
    assert len(server.service.jobs) == 2


def test_a_used_connection_that_drops_a_create_is_not_used_to_send_it_twice(connect, server):
    server.service.add_job()
    with connect(base_url=server.base_url, **ONCE) as client:
        client.jobs.retrieve("ftjob-1")
        server.fault(faults.drop_after())
        with pytest.raises(ConnectionLost) as caught:
            client.jobs.create(SPEC)
    assert caught.value.processed is None
    assert len(server.asked("POST")) == 1


def test_connections_are_reused_and_all_closed_at_the_end(connect, server):
    server.service.add_job()
    with connect(base_url=server.base_url) as client:
        for _ in range(20):
            client.jobs.retrieve("ftjob-1")
        assert server.connections == 1
    began = time.monotonic()
    while server.open_connections and time.monotonic() < began + 5:
        time.sleep(0.001)
    assert server.open_connections == 0


@pytest.mark.slow
def test_a_fault_leaves_no_connection_behind(connect, server):
    server.fault(faults.silent(), times=5)
    with connect(base_url=server.base_url, retry=Retry(attempts=1), timeout=0.2) as client:
        for _ in range(5):
            with pytest.raises((RequestTimeout, ConnectionFailed)):  # a busy machine may not even connect in time
                client.jobs.retrieve("ftjob-1")
        began = time.monotonic()
        while server.open_connections and time.monotonic() < began + 5:
            time.sleep(0.001)
        assert server.open_connections == 0


# --- Who answers before they have listened. ---


def test_an_early_refusal_of_a_large_body_is_heard(connect, server, tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    too_large = serialise(Response(413, {"connection": "close"}, b'{"error": {"message": "too large"}}'))
    server.fault(raw(too_large, early=True))
    with connect(base_url=server.base_url, **ONCE) as client, pytest.raises(TunewayError) as caught:
        client.files.create(path)
    # the reply may be lost together with the connection; then it can't be told whether the file counted
    assert caught.value.status == 413 or isinstance(caught.value, ConnectionLost)


def test_a_server_that_takes_no_body_ends_by_the_timeout(connect, server, tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    server.fault(Fault(faults.silent().act, early=True))
    with connect(base_url=server.base_url, **HASTY) as client, within(TIMEOUT + 2.0), pytest.raises(RequestTimeout):
        client.files.create(path)


# --- The clients themselves. ---


def test_a_closed_client_says_so(server):
    with Client(base_url=server.base_url) as client:
        pass
    with pytest.raises(InvalidInput, match="is closed"):
        client.jobs.retrieve("ftjob-1")
    assert server.arrived == []


async def test_a_closed_asyncio_client_says_so(server):
    client = AsyncClient(base_url=server.base_url)
    await client.aclose()
    for look in (client.jobs.retrieve("ftjob-1"), client.wait("ftjob-1")):
        with pytest.raises(InvalidInput, match="is closed"):
            await look


def test_the_timeout_holds_for_a_given_http_client_too(connect, server):
    server.fault(faults.silent())
    http = (httpx.Client if connect is Client else httpx.AsyncClient)(timeout=60)
    with connect(base_url=server.base_url, http=http, **HASTY) as client, within(TIMEOUT + 2.0):  # noqa: SIM117
        with pytest.raises(RequestTimeout, match=r"0\.2 s"):
            client.jobs.retrieve("ftjob-1")
    assert not http.is_closed, "its owner closes it"
    if isinstance(http, httpx.Client):
        http.close()


def test_threads_share_a_client_and_its_time_outs_stay_apart(server):
    for _ in range(8):
        server.service.add_job()
    server.fault(faults.late(0.5), "GET", "/fine_tuning/jobs/ftjob-1")
    seen: dict[str, object] = {}

    def look(client: Client, job_id: str) -> None:
        try:
            seen[job_id] = client.jobs.retrieve(job_id).id
        except TunewayError as error:
            seen[job_id] = type(error)

    with Client(base_url=server.base_url, retry=Retry(attempts=1), timeout=0.2) as client:
        threads = [threading.Thread(target=look, args=(client, f"ftjob-{n}")) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {f"ftjob-{n}": RequestTimeout if n == 1 else f"ftjob-{n}" for n in range(1, 9)}


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 599])
def test_an_ambiguous_refusal_may_have_counted(status, connect, server):
    server.fault(answer({}, status))
    with connect(base_url=server.base_url, **ONCE) as client, pytest.raises(TunewayError) as caught:
        client.jobs.create(SPEC)
    assert caught.value.processed is None
    assert caught.value.retryable
    assert isinstance(caught.value, ServerError) or status == 409


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 418, 422, 429, 451])
def test_a_clear_refusal_did_not_count(status, connect, server):
    server.fault(answer({}, status))
    with connect(base_url=server.base_url, **ONCE) as client, pytest.raises(TunewayError) as caught:
        client.jobs.create(SPEC)
    assert caught.value.processed is False
    assert caught.value.retryable is (status == 429)
    assert caught.value.status == status
