"""What tells the content of a file from what it was before."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tuneway.data import version_of
from tuneway.errors import InvalidSpec


def version(place):
    return version_of(place, field="training_data")


@pytest.mark.parametrize("form", [str, lambda path: path, lambda path: path.as_uri()])
def test_a_file_on_this_machine_has_another_version_when_its_content_is_another(tmp_path, form):
    path = tmp_path / "train.jsonl"
    assert version(form(path)) is None
    path.write_text("one")
    first = version(form(path))
    path.write_text("two")
    second = version(form(path))
    path.write_text("one")

    assert first != second
    assert version(form(path)) == first, "the content is what it was"


def test_a_store_is_asked_for_its_own_word():
    memory = pytest.importorskip("fsspec").filesystem("memory")
    place = "memory://versions/train.jsonl"
    assert version(place) is None
    memory.pipe_file("/versions/train.jsonl", b"one")
    first = version(place)

    assert first == version(place)
    memory.pipe_file("/versions/train.jsonl", b"another")
    assert version(place) != first


def test_a_path_of_a_store_is_read():
    path = pytest.importorskip("upath").UPath("memory://versions/path.jsonl")
    assert version(path) is None
    path.write_bytes(b"one")
    first = version(path)
    path.write_bytes(b"another")

    assert version(path) not in {None, first}


@pytest.fixture
def web():
    """A web server, and what it says of its file: `{"etag": …}`, the content, and which methods it knows."""
    state: dict[str, Any] = {"headers": {}, "content": b"one", "heads": True, "status": 200, "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def answer(self, content):
            state["asked"].append(self.command)
            known = self.command == "GET" or state["heads"]
            self.send_response(state["status"] if known else 405)
            for name, value in state["headers"].items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(state["content"])))
            self.end_headers()
            self.wfile.write(content)

        def do_HEAD(self):
            self.answer(b"")

        def do_GET(self):
            self.answer(state["content"])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state["url"] = f"http://me:hidden@127.0.0.1:{server.server_port}/train.jsonl?sig=hidden"
    yield state
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("header", ["etag", "last-modified"])
def test_a_web_server_is_asked_for_its_own_word(web, header):
    web["headers"] = {header: '"1"'}
    first = version(web["url"])
    web["headers"] = {header: '"2"'}

    assert version(web["url"]) != first
    assert web["asked"] == ["HEAD", "HEAD"], "the file isn't read for it"


@pytest.mark.parametrize("heads", [True, False])
def test_a_file_whose_server_says_nothing_of_it_is_read(web, heads):
    web["heads"] = heads
    first = version(web["url"])
    web["content"] = b"two"

    assert version(web["url"]) != first
    assert "GET" in web["asked"]


def test_a_file_that_its_server_does_not_have_has_no_version(web):
    web["status"] = 404
    assert version(web["url"]) is None


def test_a_file_that_can_not_be_read_is_named_without_what_is_secret(web):
    web["status"] = 500
    with pytest.raises(InvalidSpec, match="it answered 500") as caught:
        version(web["url"])
    assert "hidden" not in str(caught.value)


def test_rows_have_no_version():
    with pytest.raises(InvalidSpec, match="is no path and no URL"):
        version([{"a": 1}])
