"""A reply that is too large is refused, compressed or not, before it fills the memory."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from support.fault_server import Fault, answer, raw

from tuneway.errors import BadReply
from tuneway.flows import Retry

MEGABYTE = 1024 * 1024
LIMIT = 32 * MEGABYTE  # of any reply that isn't a file
HUGE = 100 * MEGABYTE


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Nothing in here needs more memory than that, the server's own pieces included."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < size, f"{(peak - before) / MEGABYTE:.1f} MiB"


@cache
def zeros(wbits: int) -> bytes:
    """100 MB of zeros, compressed to 100 kB."""
    squeeze = zlib.compressobj(9, wbits=wbits)
    return b"".join([*(squeeze.compress(bytes(MEGABYTE)) for _ in range(100)), squeeze.flush()])


def long_body(headers: bytes, size: int, *, chunked: bool = False) -> Fault:
    """A valid JSON text of so many bytes, sent piece by piece."""

    def pieces() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + headers + b"\r\n"
        piece = b" " * MEGABYTE
        for _ in range(size // MEGABYTE):
            yield b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
        yield b"0\r\n\r\n" if chunked else b"{}"

    return raw(pieces())


REFUSED = {
    "as long as it says": lambda: long_body(b"content-length: %d\r\n" % (HUGE + 2), HUGE),
    "of no said length": lambda: long_body(b"connection: close\r\n", HUGE),
    "in chunks": lambda: long_body(b"transfer-encoding: chunked\r\n", HUGE, chunked=True),
    "said to be endless": lambda: raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999999999999\r\n\r\n"),
    "a gzip bomb": lambda: answer(zeros(31), content_encoding="gzip"),
    "a zlib bomb": lambda: answer(zeros(15), content_encoding="deflate"),
    "a bomb in a bomb": lambda: answer(gzip.compress(zeros(31)), content_encoding="gzip, gzip"),
    "a bomb that names itself twice": lambda: answer(zeros(31), content_encoding="x-gzip"),
    "more behind the compressed end": lambda: raw(
        [
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
            gzip.compress(b'{"id": "x", "status": "queued"}'),
            *[b"\0" * MEGABYTE] * 100,
        ]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_reply_that_is_too_large_is_refused_in_little_memory(name, connect, server):
    server.fault(REFUSED[name]())
    with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client, at_most(LIMIT + 16 * MEGABYTE):  # noqa: SIM117
        with pytest.raises(BadReply, match=r"larger than|content-encoding|data after the end"):
            client.jobs.retrieve("ftjob-1")


def test_an_error_page_may_be_as_large_as_it_likes(connect, server):
    server.fault(raw([b"HTTP/1.1 500 Oh\r\n\r\n", *[b"<p>" * MEGABYTE] * 30]))
    with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client, at_most(LIMIT + 16 * MEGABYTE):  # noqa: SIM117
        with pytest.raises(BadReply, match="larger than"):
            client.jobs.retrieve("ftjob-1")


@pytest.mark.parametrize("squeezed", [gzip.compress, zlib.compress])
def test_a_compressed_reply_is_read(squeezed, connect, server):
    body = squeezed(b'{"id": "ftjob-1", "status": "queued"}')
    server.fault(answer(body, content_encoding="gzip" if squeezed is gzip.compress else "deflate"))
    with connect(base_url=server.base_url) as client:
        assert client.jobs.retrieve("ftjob-1").status == "queued"


def test_a_compressed_reply_that_is_cut_is_no_reply(connect, server):
    whole = gzip.compress(b'{"id": "ftjob-1", "status": "queued"}')
    with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client:
        for length in range(1, len(whole)):
            server.fault(answer(whole[:length], content_encoding="gzip"))
            with pytest.raises(BadReply):
                client.files.content("file-1")


def test_a_file_may_be_larger_than_a_message(connect, server):
    content = b"0123456789abcdef" * (3 * MEGABYTE)
    server.fault(answer(content))
    with connect(base_url=server.base_url) as client:
        assert client.files.content("file-1") == content
