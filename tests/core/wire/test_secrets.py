"""The key goes to the service, and nowhere else: no error, no log, no text of ours ever holds it."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback

import pytest
from support import fault_server as faults
from support.fault_server import answer, raw
from support.operations import ONE_TO_ONE, SPEC

from tuneway import Client
from tuneway.errors import TunewayError
from tuneway.flows import Poll, Retry

KEY = "sk-proj-abcdefghijklmnop-0123456789"
KEY_BYTES = KEY.encode()
ONCE = {"api_key": KEY, "retry": Retry(attempts=1), "timeout": 0.2, "settle": 0.01}

PAGE = b"<html>your request: authorization: Bearer " + KEY_BYTES + b"</html>"
ECHO = {"error": {"message": f"unknown key {KEY}", "type": KEY, "code": KEY, "param": KEY}}

ECHOES = {
    "a refusal": answer(ECHO, 401, x_request_id=KEY),
    "a refusal of everything": answer({"detail": [{"loc": [KEY], "msg": KEY}]}, 422),
    "a refusal in plain words": answer(KEY_BYTES, 400),
    "a page with 200": answer(PAGE, kind=f"text/html; who={KEY}"),
    "a page with 500": answer(PAGE, 500),
    "a job without an id": answer({"key": KEY, "status": KEY}),
    "a redirect": answer(b"", 302, location=f"https://elsewhere.example/?key={KEY}"),
    "an odd compression": answer(b"", content_encoding=KEY),
    "a broken compression": answer(KEY_BYTES, content_encoding="gzip", x_request_id=KEY),
    "a first line": raw(b"HTTP/1.1 " + KEY_BYTES + b"\r\n\r\n"),
    "a header": raw(b"HTTP/1.1 200 OK\r\n" + KEY_BYTES + b"\r\n\r\n"),
    "a location that is none": raw(b"HTTP/1.1 302 Found\r\nlocation: http://[" + KEY_BYTES + b"\r\n\r\n"),
    "a length": raw(b"HTTP/1.1 200 OK\r\ncontent-length: " + KEY_BYTES + b"\r\n\r\n"),
    "a chunk": raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + KEY_BYTES + b"\r\n"),
    "nothing": faults.drop_after(),
    "silence": faults.silent(),
}


def texts(error: BaseException) -> list[str]:
    """All representations of an error as text."""
    return [
        str(error), repr(error), str(vars(error)), repr(error.args),
        pickle.dumps(error, 0).decode("latin-1"), str(pickle.loads(pickle.dumps(error))), repr(copy.copy(error)),
        "".join(traceback.format_exception(error)),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ECHOES)
@pytest.mark.parametrize("dialect", ["openai", "azure"])
def test_no_error_holds_the_key_whatever_the_service_echoes(name, dialect, connect, server):
    server.fault(ECHOES[name], times=2)
    with connect(base_url=server.base_url, dialect=dialect, **ONCE) as client:
        for operation in (client.jobs.retrieve, client.jobs.create):
            with pytest.raises(TunewayError) as caught:
                operation("ftjob-1" if operation == client.jobs.retrieve else SPEC)
            for text in texts(caught.value):
                assert KEY not in text


def test_no_news_holds_the_key(connect, server):
    failed = {"id": "ftjob-1", "status": "failed", "error": {"message": f"bad key {KEY}", "code": KEY}}
    server.fault(ECHOES["a page with 500"], "GET", "/fine_tuning/jobs/ftjob-1", times=2)
    server.fault(answer(failed), "GET", "/fine_tuning/jobs/ftjob-1")
    server.fault(ECHOES["a refusal"], "GET", ".*/events", times=9)
    news: list[object] = []
    options = ONCE | {"poll": Poll(minimum=0.001, maximum=0.002)}
    with connect(base_url=server.base_url, **options) as client, pytest.raises(TunewayError) as caught:
        client.wait("ftjob-1", on_event=news.append)
    assert len(news) >= 3
    assert "bad key [key]" in str(caught.value)
    for told in [*map(str, news), *map(repr, news), *texts(caught.value)]:
        assert KEY not in told


@pytest.mark.parametrize("dialect", ["openai", "azure"])
def test_no_log_holds_the_key_however_much_is_logged(dialect, connect, server, caplog):
    server.fault(faults.drop_after(), "DELETE")
    with caplog.at_level(logging.DEBUG), connect(base_url=server.base_url, dialect=dialect, **ONCE) as client:
        for operation in ONE_TO_ONE:
            try:
                operation(client)
            except TunewayError:
                continue
    seen = {record.name for record in caplog.records}
    assert {"httpx", "httpcore.http11", "httpcore.connection"} <= seen, "else this test sees nothing"
    assert any(KEY in value for arrival in server.arrived for _, value in arrival.headers)
    assert KEY not in caplog.text


@pytest.mark.parametrize("name", sorted(ECHOES.keys() - {"silence"}))
def test_no_log_holds_a_key_that_the_service_sends_back(name, connect, server, caplog):
    server.fault(ECHOES[name])
    with caplog.at_level(logging.DEBUG), connect(base_url=server.base_url, **ONCE) as client:
        try:
            client.jobs.retrieve("ftjob-1")
        except TunewayError as error:
            logging.getLogger("app").debug("it failed", exc_info=error)
    assert {"httpcore.http11", "httpcore.connection"} <= {record.name for record in caplog.records}
    assert KEY not in caplog.text


def test_no_log_holds_a_training_row_however_much_is_logged(connect, server, caplog, tmp_path):
    from support import datasets

    secret = "My card 4111 1111 1111 1111 was charged twice"
    rows = datasets.good_rows(count=12)
    rows[3]["messages"][0]["content"] = secret
    data = datasets.write(tmp_path / "train.jsonl", rows)
    with caplog.at_level(logging.DEBUG), connect(base_url=server.base_url, **ONCE) as client:
        client.upload(data)
        server.fault(answer({"error": {"message": "no"}}, 400))
        try:
            client.upload(datasets.write(tmp_path / "other.jsonl", rows[:11]))
        except TunewayError as error:
            logging.getLogger("app").debug("it failed", exc_info=error)
    assert "httpcore.http11" in {record.name for record in caplog.records}
    assert secret in "".join(part.content.decode() for one in server.arrived for part in one.parts)
    assert "4111 1111" not in caplog.text


def test_the_key_of_a_client_that_is_gone_is_remembered_nowhere():
    import gc

    from tuneway._hiding import _FILTER

    gc.collect()
    before = len(_FILTER.known)
    client = Client(base_url="http://localhost/v1", api_key=KEY)
    assert len(_FILTER.known) == before + 1
    client.close()
    del client
    gc.collect()
    assert len(_FILTER.known) == before


@pytest.mark.parametrize(
    "base_url",
    ["http://llm.example/v1", "http://10.0.0.7:8000/v1", "http://localhost.example/v1", "HTTP://llm.example/v1"],
)
def test_a_key_that_goes_in_plain_text_to_another_machine_is_told_of_once(base_url, connect, caplog):
    with connect(base_url=base_url, api_key=KEY):
        pass
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("tuneway", "WARNING")
    assert "in plain text: use https" in record.getMessage()
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        ("http://127.0.0.1:8765/v1", KEY),
        ("http://[::1]/v1", KEY),
        ("http://localhost/v1", None),
        ("https://llm.example/v1", KEY),
    ],
)
def test_a_key_that_stays_here_or_is_encrypted_is_not_told_of(base_url, key, connect, caplog):
    with connect(base_url=base_url, api_key=key):
        pass
    assert caplog.records == []


def test_no_part_of_a_client_shows_the_key(connect):
    with connect(base_url="http://localhost/v1", api_key=KEY) as client:
        assert repr(client) in ("Client(base_url='http://localhost/v1')", "AsyncClient(base_url='http://localhost/v1')")
    with Client(base_url="http://localhost/v1", api_key=KEY) as client:
        for part in (client, client._wire, client._account, client._driver, client._watcher, client.jobs):
            assert KEY not in repr(part) + str(part)


@pytest.mark.parametrize("key", ["none", "EMPTY", "test", "ollama"])
def test_a_key_that_is_no_secret_is_not_cut_out_of_honest_replies(key, connect, server):
    server.service.add_job(metadata={"word": f"a {key} word"}, model=key)
    with connect(base_url=server.base_url, api_key=key) as client:
        job = client.jobs.retrieve("ftjob-1")
    assert (job.metadata, job.model) == ({"word": f"a {key} word"}, key)


def test_a_file_comes_back_as_it_is_even_if_it_holds_the_key(connect, server):
    file = server.service.add_file()
    server.service.contents[file["id"]] = b"before " + KEY_BYTES + b" after"
    with connect(base_url=server.base_url, api_key=KEY) as client:
        assert client.files.content(file["id"]) == b"before " + KEY_BYTES + b" after"


@pytest.mark.parametrize("word", ["api_key", "organization", "project"])
@pytest.mark.parametrize("value", ["a\nb", "a\r\nx-evil: 1", "schlüssel", "a\0b", "\ud800"])
def test_what_no_header_can_carry_is_refused_without_being_quoted(word, value):
    from tuneway import InvalidSpec

    with pytest.raises(InvalidSpec, match=f"{word} holds characters") as caught:
        Client(**({"base_url": "http://localhost"} | {word: KEY + value}))
    assert caught.value.field == word
    assert KEY not in repr(caught.value)
