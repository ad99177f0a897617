"""Together AI: uploads by signed addresses, on another host, and what the service finds in the data."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fault_server import FaultServer, answer, cut, drop_after, drop_before
from support.vendors.storage import storage_of
from support.vendors.together import FakeTogether

from tuneway import InvalidSpec
from tuneway.errors import BadReply, BadRequest, TunewayError
from tuneway.flows import Poll, Retry
from tuneway.progress import FileReused, FileUploaded, News

KEY = "a-key-of-together-that-nobody-may-see"
QUICK: dict[str, Any] = {
    "dialect": "together",
    "api_key": KEY,
    "poll": Poll(minimum=0.001, maximum=0.002),
    "settle": 0.1,
    "retry": Retry(first=0.001),
}


@pytest.fixture
def service() -> FakeTogether:
    return FakeTogether(clock=time.time)


@pytest.fixture
def store(service: FakeTogether) -> Iterator[FaultServer]:
    with storage_of(service) as store:
        yield store


@pytest.fixture
def server(service: FakeTogether, store: FaultServer) -> Iterator[FaultServer]:
    with FaultServer(service) as server:
        yield server


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(_chat(number)) + "\n" for number in range(12)))
    return path


def _chat(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "!"}]}


def asked(server: FaultServer) -> list[str]:
    return [f"{one.method} {one.path.removeprefix('/v1')}" for one in server.arrived]


def test_bytes_go_to_the_signed_address_without_the_key(connect, server, store, service, train):
    told: list[News] = []
    with connect(base_url=server.base_url, organization="o", project="p", **QUICK) as client:
        file = client.upload(train, on_event=told.append)
    assert service.contents[file.id] == train.read_bytes()
    (sent,) = store.arrived
    assert not {"authorization", "openai-organization", "openai-project"} & dict(sent.headers).keys()
    form = {part.named("name"): part.content.decode() for part in server.asked("POST", "/files")[0].parts}
    assert form["file_type"] == "jsonl"
    assert form["file_name"] == f"train.sha256-{form['checksum']}.jsonl" == file.filename
    assert file.status == "processed"
    assert [type(news) for news in told if isinstance(news, FileUploaded | FileReused)] == [FileUploaded]


def test_the_same_data_is_found_in_the_list(connect, server, store, train):
    with connect(base_url=server.base_url, **QUICK) as client:
        first = client.upload(train)
        server.forget()
        again = client.upload(train)
    assert again.id == first.id
    assert asked(server) == ["GET /files"]
    assert len(store.arrived) == 1


def test_bytes_that_the_service_has_under_another_name_are_not_sent_again(connect, server, store, service, train):
    known = service.add_file(train.read_bytes(), filename="from-elsewhere.jsonl")
    told: list[News] = []
    with connect(base_url=server.base_url, **QUICK) as client:
        assert client.upload(train, on_event=told.append).id == known["id"]
    assert store.arrived == []
    assert [type(news) for news in told if isinstance(news, FileUploaded | FileReused)] == [FileReused]


@pytest.mark.parametrize("fault", [drop_before(), drop_after(), cut(9), answer({}, 503, acts=True)])
@pytest.mark.parametrize("place", ["begin", "store", "preprocess", "look", "list"])
def test_whatever_breaks_the_file_is_there_once(place, fault, connect, server, store, service, train):
    where, kind = {
        "begin": (server, ("POST", "/files")),
        "store": (store, ("PUT", ".*")),
        "preprocess": (server, ("POST", "/files/.*/preprocess")),
        "look": (server, ("GET", "/files/.*")),
        "list": (server, ("GET", "/files")),
    }[place]
    where.fault(fault, *kind)
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(train)
    assert [one["id"] for one in service.files] == [file.id]
    assert service.contents[file.id] == train.read_bytes()


def test_a_file_whose_check_was_never_asked_for_is_checked(connect, server, service, store, train):
    """Its uploader was killed between the bytes and the check."""
    server.fault(answer({"error": {"message": "no"}}, 400), "POST", "/files/.*/preprocess")
    with connect(base_url=server.base_url, **QUICK) as client:
        with pytest.raises(BadRequest, match="no"):
            client.upload(train)
        server.forget()
        file = client.upload(train)
    assert file.status == "processed"
    assert asked(server)[:2] == ["GET /files", f"POST /files/{file.id}/preprocess"]
    assert len(store.arrived) == 1


def test_an_address_that_has_expired_is_asked_for_again(connect, server, store, service, train):
    store.fault(answer(b"<Error>expired</Error>", 403, kind="application/xml"), "PUT")
    with connect(base_url=server.base_url, **QUICK) as client:
        file = client.upload(train)
    assert len(server.asked("POST", "/files")) == 2
    assert [one["id"] for one in service.files] == [file.id]


@pytest.mark.parametrize("status", [302, 400, 403, 503])
def test_no_error_and_no_log_has_the_signed_address(status, connect, server, store, service, train, caplog):
    caplog.set_level(logging.DEBUG)

    def echo(signature: str) -> bytes:
        return f"<Error><StringToSign>{signature}</StringToSign></Error>".encode()

    signatures = [f"signature-{number:012d}-of-nobody-else" for number in range(1, 9)]
    location = f"{store.origin}/elsewhere?X-Amz-Signature={signatures[0]}"
    store.fault(answer(echo(signatures[0]), status, kind="application/xml", location=location), "PUT", times=9)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(TunewayError) as caught:
        client.upload(train)
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caplog.text}"
    assert str(status) in str(caught.value)
    assert not [word for word in (*signatures, KEY, "StringToSign") if word in shown]
    assert service.files == []


def test_no_log_has_a_signed_address_with_a_quotation_mark(connect, server, store, train, caplog):
    caplog.set_level(logging.DEBUG)
    address = f"{store.origin}/elsewhere?name='a'&X-Amz-Signature=signature-of-nobody"
    headers = {"location": address, "x-together-file-id": "file-1"}
    server.fault(answer(b"", 302, **headers), "POST", "/files", times=9)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(TunewayError):
        client.upload(train)
    assert "location" in caplog.text
    assert "signature-of-nobody" not in caplog.text


def test_a_store_that_can_not_be_reached_is_told_without_its_address(connect, server, store, service, train):
    service.storage.address = "http://127.0.0.1:1"
    with (
        connect(base_url=server.base_url, **QUICK) as client,
        pytest.raises(TunewayError, match="file store") as caught,
    ):
        client.upload(train)
    assert "signature" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


def test_data_that_the_service_refuses_is_told_with_its_reason_and_without_rows(connect, server, service, train):
    report = {"valid": False, "error": "Found extra column 'label' near 'a long text that stands in a row'"}
    refused = service.add_file(processing_status="INVALID_FORMAT", validation_report=report)
    server.fault(answer({"file_id": refused["id"]}, 409), "POST", "/files")
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(BadRequest) as caught:
        client.upload(train)
    assert "Found extra column 'label'" in str(caught.value)
    assert "long text" not in str(caught.value)
    assert refused["id"] in str(caught.value.hint)


@pytest.mark.parametrize(
    "reply",
    [
        answer({}, 409),
        answer([], 409),
        answer(b"<html>", 409),
        answer({"file_id": "../models"}, 409),
        answer(b"", 302),
        answer(b"", 302, location="http://127.0.0.1:1/x"),
        answer(b"", 302, x_together_file_id="file-1"),
        answer({"id": "file-1"}),
    ],
)
def test_an_answer_that_is_no_permission_is_a_bad_reply(reply, connect, server, service, train):
    server.fault(reply, "POST", "/files", times=9)
    with connect(base_url=server.base_url, **QUICK) as client, pytest.raises(BadReply):
        client.upload(train)
    assert service.files == []


def test_an_upload_that_can_not_be_said_is_refused_before_anything_is_sent(connect, server, train, monkeypatch):
    with (
        connect(base_url=server.base_url, **QUICK) as client,
        pytest.raises(InvalidSpec, match="until they are deleted"),
    ):
        client.upload(train, expires_after=3600)
    assert server.arrived == []


def test_files_are_listed_read_and_deleted(connect, server, service):
    file = service.add_file(filename="mine.jsonl")
    service.add_file(purpose="eval")
    with connect(base_url=server.base_url, **QUICK) as client:
        assert [one.id for one in client.files.list(purpose="fine-tune")] == [file["id"]]
        assert client.files.retrieve(file["id"]).status == "processed"
        assert client.files.content(file["id"]) == service.contents[file["id"]]
        assert client.files.delete(file["id"]).deleted
    assert len(service.files) == 1
