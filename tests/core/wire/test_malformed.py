"""Whatever a service sends as a reply, every operation ends with a sound result or one of our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from support.fault_server import Fault, answer
from support.operations import ONE_TO_ONE, everything, steps

from tuneway import Client, Outcome
from tuneway.client import FineTuned, SentData, StartedJob
from tuneway.errors import TunewayError
from tuneway.flows import Diagnosis, Poll, Retry

QUICK: dict[str, Any] = {
    "retry": Retry(attempts=2, first=0.001),
    "poll": Poll(minimum=0.001, maximum=0.002, tolerance=2),
    "settle": 0,
    "lookup_pages": 3,
    "timeout": 5.0,
}

JOB = {
    "id": "ftjob-1", "object": "fine_tuning.job", "created_at": 1, "status": "succeeded", "model": "base",
    "fine_tuned_model": "ft:base", "error": None, "finished_at": 2, "estimated_finish": 3, "training_file": "file-1",
    "validation_file": None, "method": {"type": "supervised"}, "hyperparameters": {"n_epochs": 3}, "integrations": [],
    "metadata": {"a": "b"}, "organization_id": "org", "result_files": ["file-2"], "seed": 1, "trained_tokens": 5,
}  # fmt: skip
OTHERS = {
    "bytes": 3, "expires_at": 4, "filename": "train.jsonl", "purpose": "fine-tune", "status_details": "x",
    "created": 5, "owned_by": "me", "shutdown_date": "2027-01-01", "deleted": True, "data": [], "has_more": False,
    "first_id": "a", "last_id": "b", "grader": {}, "reward": 0.5, "metadata": {}, "sub_rewards": {},
    "level": "info", "message": "x", "type": "metrics", "step_number": 1, "metrics": {"step": 1}, "project_id": "p",
    "fine_tuned_model_checkpoint": "ft:base:ckpt", "fine_tuning_job_id": "ftjob-1", "upload_id": "u", "file": None,
    "choices": [{"message": {"content": "yes"}}],
}  # fmt: skip
EVERYTHING = JOB | OTHERS
"""A reply that is a bit of everything that any operation looks for."""

WRONG: list[Any] = [None, True, -1, 0.5, 10**400, 1e308, "", "text", "9" * 5000, [], [[]], [None], {}, {"a": {"b": []}}]

NESTED = 10_000
TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \r\n\t",
    "a page": b"<!doctype html><html><body>502 Bad Gateway</body></html>",
    "half a JSON": json.dumps(EVERYTHING).encode()[:-20],
    "two JSONs": b'{"id": "x", "status": "queued"} {"id": "y"}',
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(EVERYTHING).encode(),
    "UTF-16": json.dumps(EVERYTHING).encode("utf-16"),
    "no UTF-8": b'{"id": "\xff\xfe", "status": "\xc3"}',
    "zeros": b"\0" * 100,
    "NaN": b"NaN",
    "NaN for numbers": json.dumps(EVERYTHING | dict.fromkeys(["created_at", "seed", "reward"], float("nan"))).encode(),
    "Infinity": json.dumps(EVERYTHING | dict.fromkeys(["created_at", "estimated_finish"], float("inf"))).encode(),
    "minus Infinity": json.dumps(EVERYTHING | {"created_at": float("-inf"), "trained_tokens": float("-inf")}).encode(),
    "1e999": b'{"id": "x", "status": "queued", "created_at": 1e999, "estimated_finish": -1e999, "data": []}',
    "an integer of a mile": b'{"id": "x", "status": "queued", "created_at": ' + b"9" * 100_000 + b', "data": []}',
    "deep lists": b"[" * NESTED + b"]" * NESTED,
    "deep objects": b'{"error":' * NESTED + b"1" + b"}" * NESTED,
    "a deep field": b'{"id": "x", "status": "queued", "method": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
    "the same key twice": b'{"id": "x", "id": null, "status": "queued", "status": 5, "data": [], "data": 7}',
    "half a character": rb'{"id": "\ud800", "status": "\udfff", "message": "\ud83d", "data": [{"id": "\ud800"}]}',
    "half a character, kept": rb'{"id": "x", "status": "queued", "other": "\ud800", "data": []}',
    "a key of nothing": b'{"": 1, "id": "x", "status": "queued", "data": []}',
    "names of ours": b'{"id": "x", "status": "queued", "phase": 1, "done": 2, "model_extra": 3, "__dict__": 4}',
    "comments": b'{"id": "x" /* really */, "status": "queued"}',
    "null": b"null",
    "a number": b"5",
    "a text": b'"ftjob-1"',
    "true": b"true",
    "a list": b"[]",
    "a list of nothing": b"[null]",
    "a list instead of its object": json.dumps([EVERYTHING]).encode(),
    "an empty object": b"{}",
    "a page of nothing": b'{"object": "list", "data": [null, 5, [], {}, "x"]}',
    "a page of null": b'{"object": "list", "data": null, "has_more": null}',
    "a page of an object": b'{"object": "list", "data": {"id": "x"}}',
    "a page that has more of nothing": b'{"object": "list", "data": [], "has_more": true}',
    "a page of one without an id": b'{"object": "list", "data": [{"id": "a", "status": "queued"}, {"status": "x"}]}',
    "a page of an empty id": b'{"object": "list", "data": [{"id": "", "status": "queued"}]}',
    "a choice of nothing": b'{"choices": []}',
    "choices of null": b'{"choices": [null, {"message": null}]}',
    "an object of choices": b'{"choices": {"0": {"message": {"content": "x"}}}}',
    "a choice without words": b'{"choices": [{"message": {"content": null, "tool_calls": []}}]}',
}

STATUSES = [200, 400, 404, 500]  # a 429 slows the client down, as it should: see below


def wrong_types() -> Iterator[bytes]:
    """A bit of everything, with every field of the wrong type in turn, in all ways."""
    for field in EVERYTHING:
        for value in WRONG:
            yield json.dumps(EVERYTHING | {field: value}).encode()


def all_wrong() -> Iterator[bytes]:
    for value in WRONG:
        yield json.dumps(dict.fromkeys(EVERYTHING, value)).encode()
        page = {"object": "list", "data": [dict.fromkeys(EVERYTHING, value) | {"id": "x", "status": "queued"}]}
        yield json.dumps(page).encode()
        yield json.dumps({"error": value}).encode()
        yield json.dumps({"error": dict.fromkeys(["message", "code", "type", "param"], value)}).encode()
        yield json.dumps({"detail": value}).encode()
        yield json.dumps({"detail": [{"loc": value, "msg": value}, value]}).encode()
        yield json.dumps(EVERYTHING | {"error": dict.fromkeys(["message", "code", "param"], value)}).encode()


def parts_of(result: Any) -> list[Any]:
    """What a result is made of."""
    match result:
        case Outcome():
            assert all(isinstance(value, float) for value in result.metrics.values())
            return [result.job, *result.checkpoints, *result.events]
        case FineTuned():
            return [result.job, result.started.job]
        case StartedJob():
            return [result.job, result.training_file]
        case SentData():
            return [result.report, result.file]
        case Diagnosis():
            return [result.error or json.dumps(result.as_json())]
        case None:  # there is no job to go on with
            return []
    return result if isinstance(result, list) else [result]


def check(operation: Any, client: Any) -> None:
    """Either our error, which can be printed, or something that can be used."""
    try:
        result = operation(client)
    except TunewayError as error:
        result = error
    for item in parts_of(result):
        if isinstance(item, TunewayError):
            str(item).encode()
            repr(item).encode()
            continue
        assert isinstance(item, BaseModel | bytes | str), repr(item)
        if isinstance(item, BaseModel):
            assert "id" not in type(item).model_fields or vars(item)["id"]
            repr(item).encode("utf-8", "replace")
            item.model_dump()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(b'{"prompt": "%d", "completion": "b"}\n' % row for row in range(12)))
    return path


DECISIONS = [operation.name for operation in steps(Path())]
NAMES = [operation.name for operation in ONE_TO_ONE] + DECISIONS


def test_no_operation_is_left_out():
    with Client(base_url="http://localhost") as client:
        assert {*everything(client)} - {"check", "validate"} == {*NAMES}


# a refusal is read alike by all, but what becomes of it differs where there are decisions
@pytest.mark.parametrize(
    ("name", "status"),
    [(name, 200) for name in NAMES]
    + [(name, status) for name in ["jobs.create", "cancel", *DECISIONS] for status in STATUSES[1:]],
)
@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_no_text_of_a_reply_escapes_the_tree(name, status, every, connect, server, data):
    operation = next(operation for operation in [*ONE_TO_ONE, *steps(data)] if operation.name == name)
    # What a reply means is decided in one place for both clients: one of them gets a third of the other's texts.
    # Some or all, each text is seen by several operations.
    every *= 1 if connect is Client else 3
    texts = list(TEXTS.values())[NAMES.index(name) % every :: every]
    with connect(base_url=server.base_url, **QUICK) as client:
        for text in texts:
            server.forget()
            server.fault(answer(text, status), times=1000)
            check(operation, client)
            assert server.arrived, "else nothing was tried"


class Scripted(httpx.BaseTransport):
    """Answers everything alike, without a socket: there are many thousand wrong types."""

    status, body = 200, b""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(self.status, stream=OneBody(self.body))


class OneBody(httpx.SyncByteStream):
    def __init__(self, body: bytes) -> None:
        self.body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self.body


def look_at_wrong_types(name: str, data: Path, *, every: int) -> None:
    operation = next(operation for operation in [*ONE_TO_ONE, *steps(data)] if operation.name == name)
    transport = Scripted()
    replies = [(200, body) for body in wrong_types()]
    replies += [(status, body) for status in STATUSES for body in all_wrong()]
    # sparse or not, over all operations every one of them is seen
    with httpx.Client(transport=transport) as http, Client(base_url="http://localhost", http=http, **QUICK) as client:
        for transport.status, transport.body in replies[NAMES.index(name) % every :: every]:
            check(operation, client)


@pytest.mark.parametrize("name", NAMES)
def test_no_field_of_a_wrong_type_escapes_the_tree(name, data):
    look_at_wrong_types(name, data, every=len(NAMES))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_field_of_any_wrong_type_escapes_the_tree(name, data):
    look_at_wrong_types(name, data, every=1)


HEADERS = {
    "retry-after": ["", "x", "-1", "1e999", "nan", "9" * 400, "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 99 Foo 2026"],
    "retry-after-ms": ["", "x", "-1", "nan", "inf"],
    "x-should-retry": ["", "maybe", "TRUE"],
    "x-ratelimit-remaining-requests": ["", "0", "-5", "x"],
    "x-ratelimit-reset-requests": ["", "soon", "-1s", "1e999s", "6m0s7", "s"],
    "content-type": ["", "text/html", "application/json; charset=klingon", "\xff\xfe"],
    "x-request-id": ["", "\xff", "x" * 9000],
    "set-cookie": ["", "=;=", "a=b; expires=never; domain=.", "\xff=\xff", "a=b; max-age=" + "9" * 400],
    "date": ["yesterday"],
}


@pytest.mark.parametrize("status", [200, 429, 500])
@pytest.mark.parametrize("name", HEADERS)
def test_no_header_escapes_the_tree(name, status, connect, server):
    def with_header(value: str) -> Fault:
        headers = {name: value, "x-ratelimit-remaining-requests": "0"} if "reset" in name else {name: value}
        return answer({"id": "x", "status": "queued"}, status, **headers)

    create, look = ONE_TO_ONE[0], ONE_TO_ONE[2]
    for value in HEADERS[name]:
        for operation in (create, look):
            server.fault(with_header(value))
            with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client:
                check(operation, client)


@pytest.mark.parametrize("operation", ONE_TO_ONE, ids=str)
def test_no_refusal_for_speed_escapes_the_tree(operation, connect, server):
    for text in [b"", b"null", b"<html>", b'{"error": {"code": {}, "type": []}}']:
        server.fault(answer(text, 429))
        with connect(base_url=server.base_url, retry=Retry(attempts=1)) as client:
            check(operation, client)
