"""Files and uploads, by the `openai` package and by hand."""

from __future__ import annotations

import hashlib
import json
import time

import httpx
import openai
import pytest
from openai import OpenAI
from support.datasets import to_bytes
from support.openai_jobs import chats


@pytest.fixture(scope="module")
def raw(service):
    with httpx.Client(base_url=service.base_url) as made:
        yield made


def upload(client: OpenAI, content: bytes = b"", **options):
    return client.files.create(file=("train.jsonl", content or chats(10)), **{"purpose": "fine-tune"} | options)


def test_a_file_comes_back_byte_for_byte(client):
    content = chats(25) + '{"text": "Grüße 😀"}\n'.encode()
    file = upload(client, content)
    assert file.id.startswith("file-")
    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(content),
        "train.jsonl",
        "fine-tune",
        "processed",
    )
    assert client.files.content(file.id).read() == content
    assert client.files.retrieve(file.id) == file
    assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_content_can_be_streamed_and_asked_for_in_ranges(service, raw, client):
    file = upload(client, chats(200))
    whole = client.files.content(file.id).read()
    reply = raw.get(f"/files/{file.id}/content", headers={"range": "bytes=10-19"})
    assert (reply.status_code, reply.content) == (206, whole[10:20])


def test_files_are_listed_newest_first_and_paged(client):
    ids = [upload(client, purpose="user_data").id for _ in range(5)]
    listed = [file.id for file in client.files.list(purpose="user_data", limit=2)]
    assert listed == ids[::-1]
    assert [file.id for file in client.files.list(purpose="user_data", order="asc", limit=2)] == ids
    assert client.files.list(purpose="batch").data == []


def test_a_list_goes_on_after_a_file_that_was_deleted_meanwhile(client):
    ids = [upload(client, purpose="batch").id for _ in range(4)]
    for file in client.files.list(purpose="batch", limit=1):
        assert client.files.delete(file.id).deleted
        ids.remove(file.id)
    assert ids == []


def test_a_deleted_file_is_gone(client):
    file = upload(client)
    client.files.delete(file.id)
    for look in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            look(file.id)
        assert caught.value.code == "file_not_found"


def test_a_file_may_expire(client):
    file = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600


@pytest.mark.parametrize(("seconds", "word"), [(3599, "3600"), (2_592_001, "2592000")], ids=["too soon", "too late"])
def test_an_expiry_has_bounds(client, seconds, word):
    with pytest.raises(openai.BadRequestError, match=word) as caught:
        upload(client, expires_after={"anchor": "created_at", "seconds": seconds})
    assert caught.value.param == "expires_after.seconds"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("expires_after", '{"anchor": "created_at", "seconds": 3600}', "expires_after"),
        ("expires_after[seconds]", "3600", "expires_after.anchor"),
        ("expires_after[anchor]", "created_at", "expires_after.seconds"),
        ("expires_after[years]", "1", "expires_after[years]"),
        ("colour", "red", "colour"),
    ],
)
def test_a_field_of_a_form_that_is_not_heeded_is_refused_by_name(raw, field, value, param):
    form = {"purpose": "fine-tune", field: value}
    reply = raw.post("/files", data=form, files={"file": ("train.jsonl", chats(10))})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_a_field_of_a_form_that_is_given_twice_is_refused_by_name(raw):
    form = {"purpose": ["batch", "fine-tune"]}
    reply = raw.post("/files", data=form, files={"file": ("train.jsonl", chats(10))})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "purpose")


def test_a_part_of_an_upload_has_no_other_fields(raw, client):
    waiting = client.uploads.create(filename="a.jsonl", bytes=3, purpose="fine-tune", mime_type="text/jsonl")
    reply = raw.post(f"/uploads/{waiting.id}/parts", data={"colour": "red"}, files={"data": b"abc"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "colour")


@pytest.mark.parametrize("query", ["colour=red", "limit=1&limit=2", "order=asc&order=asc", "metadata[a]=b"])
def test_a_parameter_that_the_list_of_files_does_not_have_is_refused_by_name(raw, query):
    reply = raw.get(f"/files?{query}")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, query.split("=")[0])


@pytest.mark.parametrize(
    ("content", "line", "start"),
    [
        (b'{"messages": []}\n[1, 2]\n', 2, "[1, 2]"),
        (b"{\n", 1, "{"),
        (b'{"a": 1}\n\n 7\n', 3, " 7"),
        (b"\xff\xfe\n", 1, "��"),
        (b"[" * 100_000, 1, "[["),
    ],
    ids=["a list", "cut JSON", "a number", "not UTF-8", "deep nesting"],
)
def test_training_data_must_be_jsonl_and_the_refusal_says_where(client, content, line, start):
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, content)
    text = str(caught.value)
    assert "Expected file to have JSONL format" in text
    assert f"Line {line} " in text
    assert f'(HINT: line starts with: "{start}' in text
    assert caught.value.type == "invalid_request_error"


def test_a_training_file_is_called_jsonl(client):
    with pytest.raises(openai.BadRequestError, match=r"\.jsonl"):
        client.files.create(file=("train.json", chats(10)), purpose="fine-tune")


def test_other_purposes_take_any_bytes(client):
    file = client.files.create(file=("photo.png", b"\x89PNG\x00\x01"), purpose="vision")
    assert client.files.content(file.id).read() == b"\x89PNG\x00\x01"


def test_the_name_of_a_file_is_only_a_name(client, service):
    file = client.files.create(file=("../../../../tmp/evil.jsonl", chats(10)), purpose="fine-tune")
    assert file.filename.endswith("evil.jsonl")
    assert {path.name for path in (service.data_dir / "files").iterdir()} >= {file.id}
    assert client.files.content(file.id).read() == chats(10)


@pytest.mark.parametrize("name", ["..", "..%2f..%2ftuneway.db", "%2e%2e/tuneway.db", "file-" + "x" * 24, "a" * 5000])
def test_an_id_that_nobody_gave_out_reaches_no_file(raw, name):
    reply = raw.get(f"/files/{name}/content")
    assert reply.status_code == 404
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, {"file": ("a.jsonl", b"{}\n")}, "purpose"),
        ({"purpose": "fine-tune"}, {"other": b"x"}, "file"),
        ({"purpose": "world domination"}, {"file": ("a.jsonl", b"{}\n")}, "purpose"),
    ],
)
def test_a_form_that_lacks_something_is_refused_by_name(raw, fields, files, param):
    reply = raw.post("/files", data=fields, files=files)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_a_body_that_is_no_form_is_refused(raw):
    reply = raw.post("/files", json={"purpose": "fine-tune"})
    assert reply.status_code == 415


def test_a_form_that_is_cut_short_is_refused_and_leaves_nothing(raw, service):
    body = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"a": 1}\n'
    reply = raw.post("/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert reply.status_code == 400
    assert list((service.data_dir / "scratch").iterdir()) == []


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(service):
    # the announced length is enough to refuse: nothing of the content is waited for
    host, port = service.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: {600 * 2**20}\r\n"
        "content-type: multipart/form-data; boundary=b\r\n\r\n"
    )
    import socket

    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(4096)


def test_the_same_key_uploads_once(client, raw):
    key = {"Idempotency-Key": f"files-{time.time()}"}
    first = upload(client, chats(11), extra_headers=key)
    assert upload(client, chats(11), extra_headers=key).id == first.id
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        upload(client, chats(12), extra_headers=key)
    assert caught.value.code == "idempotency_key_reused"


# in parts


def start(client: OpenAI, content: bytes, **options):
    return client.uploads.create(
        bytes=len(content), filename="big.jsonl", mime_type="text/jsonl", purpose="fine-tune", **options
    )


def test_parts_make_a_file_in_the_order_asked_for(client):
    content = chats(30)
    thirds = [content[:500], content[500:1000], content[1000:]]
    begun = start(client, content)
    assert (begun.status, begun.bytes) == ("pending", len(content))
    assert begun.expires_at == begun.created_at + 3600
    ids = {number: client.uploads.parts.create(begun.id, data=thirds[number]).id for number in (2, 0, 1)}
    done = client.uploads.complete(begun.id, part_ids=[ids[0], ids[1], ids[2]], md5=hashlib.md5(content).hexdigest())
    assert done.status == "completed"
    assert client.files.content(done.file.id).read() == content


def test_the_sdk_uploads_in_chunks(client):
    content = chats(300)
    done = client.uploads.upload_file_chunked(
        file=content,
        filename="c.jsonl",
        bytes=len(content),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=4096,
    )
    assert client.files.content(done.file.id).read() == content


def test_a_part_that_came_twice_does_no_harm(client):
    content = chats(10)
    begun = start(client, content)
    client.uploads.parts.create(begun.id, data=content)
    again = client.uploads.parts.create(begun.id, data=content)
    assert client.uploads.complete(begun.id, part_ids=[again.id]).status == "completed"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda ids: {"part_ids": ids[:1]}, "bytes"),
        (lambda ids: {"part_ids": [*ids, ids[0]]}, "twice"),
        (lambda ids: {"part_ids": ["part_" + "x" * 24]}, "No such part"),
        (lambda ids: {"part_ids": ids, "md5": "0" * 32}, "MD5"),
    ],
    ids=["too few bytes", "a part twice", "an unknown part", "another md5"],
)
def test_parts_that_do_not_make_up_the_upload_are_refused_and_it_stays_open(client, change, word):
    content = chats(10)
    begun = start(client, content)
    ids = [client.uploads.parts.create(begun.id, data=piece).id for piece in (content[:300], content[300:])]
    with pytest.raises(openai.BadRequestError, match=word):
        client.uploads.complete(begun.id, **change(ids))
    assert client.uploads.complete(begun.id, part_ids=ids).status == "completed"


def test_a_finished_upload_takes_nothing_more(client):
    content = chats(10)
    begun = start(client, content)
    part = client.uploads.parts.create(begun.id, data=content)
    client.uploads.complete(begun.id, part_ids=[part.id])
    with pytest.raises(openai.BadRequestError) as caught:
        client.uploads.parts.create(begun.id, data=b"more")
    assert caught.value.code == "upload_completed"
    cancelled = start(client, content)
    assert client.uploads.cancel(cancelled.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError) as caught:
        client.uploads.complete(cancelled.id, part_ids=[part.id])
    assert caught.value.code == "upload_cancelled"


def test_completing_twice_with_the_same_key_is_one_file(client):
    content = chats(10)
    begun = start(client, content)
    part = client.uploads.parts.create(begun.id, data=content)
    key = {"Idempotency-Key": f"complete-{time.time()}"}
    first = client.uploads.complete(begun.id, part_ids=[part.id], extra_headers=key)
    assert client.uploads.complete(begun.id, part_ids=[part.id], extra_headers=key) == first
    assert client.files.content(first.file.id).read() == content


def test_parts_are_looked_at_as_a_whole_file_would_be(client):
    content = b'{"a": 1}\nnot json\n'
    begun = start(client, content)
    part = client.uploads.parts.create(begun.id, data=content)
    with pytest.raises(openai.BadRequestError, match="Line 2 "):
        client.uploads.complete(begun.id, part_ids=[part.id])


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"bytes": 8 * 2**30 + 1}, "bytes"),
        ({"bytes": 0}, "bytes"),
        ({"purpose": "mischief"}, "purpose"),
        ({"filename": ""}, "filename"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_upload_has_its_limits(raw, change, param):
    body = {"bytes": 10, "filename": "a.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"} | change
    reply = raw.post("/uploads", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_a_large_file_is_checked_elsewhere_and_just_as_well(client):
    content = to_bytes({"messages": [{"role": "user", "content": "x" * 1000}]} for _ in range(5000))
    assert len(content) > 5_000_000
    assert upload(client, content).bytes == len(content)
    with pytest.raises(openai.BadRequestError, match="Line 5001 "):
        upload(client, content + json.dumps([1]).encode())


def part(headers: bytes, content: bytes = b"x") -> bytes:
    """One part of a form with the boundary `b`."""
    return b"--b\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


FILE = part(b'content-disposition: form-data; name="file"; filename="a"')


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (
            b"".join(part(b'content-disposition: form-data; name="a%d"' % n) for n in range(100_000)),
            "more than 32 parts",
        ),
        (part(b"content-disposition: form-data") + FILE, "has no name"),
        (part(b"x: y") + FILE, "has no name"),
        (part(b"x: " + b"y" * 20_000) + FILE, "header"),
        (part(b"\r\n".join(b"x-%d: y" % number for number in range(1000))) + FILE, "header"),
        (part(b"no header") + FILE, "can't be parsed"),
        (FILE, "'purpose'"),
    ],
    ids=["parts", "no name", "no disposition", "long header", "headers", "not a header", "no purpose"],
)
def test_a_malformed_or_endless_form_is_refused(raw, body, word):
    headers = {"content-type": "multipart/form-data; boundary=b"}
    reply = raw.post("/files", content=body + b"--b--\r\n", headers=headers)
    assert reply.status_code == 400
    assert word in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "options", ["boundary=" + "b" * 5000, "boundary=" + "b" * 71, "boundary=\xff", 'boundary="'], ids=len
)
def test_a_boundary_that_cannot_be_is_refused(raw, options):
    headers = {b"content-type": f"multipart/form-data; {options}".encode("latin-1")}
    reply = raw.post("/files", content=FILE, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_multipart"


def test_too_long_a_boundary_is_refused_with_the_headers_name(raw):
    headers = {"content-type": "multipart/form-data; boundary=" + "b" * 5000}
    assert raw.post("/files", content=FILE, headers=headers).json()["error"]["param"] == "Content-Type"


def test_what_follows_the_end_of_a_form_has_the_same_limit_as_the_form(raw):
    upload = raw.post("/uploads", json={"bytes": 1, "filename": "a", "mime_type": "x", "purpose": "user_data"}).json()

    def endless():
        yield part(b'content-disposition: form-data; name="data"; filename="a"') + b"--b--\r\n"
        for _ in range(70):
            yield b"x" * 2**20

    headers = {"content-type": "multipart/form-data; boundary=b"}
    try:
        reply = raw.post(f"/uploads/{upload['id']}/parts", content=endless(), headers=headers)
    except httpx.WriteError:
        return  # the service hung up
    assert reply.status_code == 413


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("broken", [None, 14_000])
def test_the_rows_of_a_large_file_are_checked_whether_its_purpose_comes_first_or_last(raw, place, broken):
    line = json.dumps({"messages": [{"role": "user", "content": "x" * 300}]}).encode()
    lines = [line] * 15_000
    if broken is not None:
        lines[broken] = b"not a row"
    file = part(b'content-disposition: form-data; name="file"; filename="a.jsonl"', b"\n".join(lines))
    purpose = part(b'content-disposition: form-data; name="purpose"', b"fine-tune")
    form = purpose + file if place == "before" else file + purpose
    headers = {"content-type": "multipart/form-data; boundary=b"}
    reply = raw.post("/files", content=form + b"--b--\r\n", headers=headers)
    if broken is None:
        assert reply.json()["bytes"] == sum(map(len, lines)) + len(lines) - 1
    else:
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_jsonl")
        assert f"Line {broken + 1} is not a dictionary" in reply.json()["error"]["message"]
