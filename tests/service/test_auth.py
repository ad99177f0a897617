"""Who gets in."""

from __future__ import annotations

import httpx
import openai
import pytest
from support.openai_jobs import chats, openai_for
from support.service import running_service, until

from tuneway_service.auth import page_cookie
from tuneway_service.settings import is_loopback

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def guarded():
    with running_service(token=TOKEN, log_level="info") as service:
        yield service


def test_with_a_token_only_those_who_have_it_get_in(guarded):
    with openai_for(guarded, api_key=TOKEN) as client:
        assert client.models.list().data
    for key in ("wrong", TOKEN[:-1], TOKEN + "x", "Ünïcode"):
        reply = httpx.get(f"{guarded.base_url}/models", headers={b"authorization": f"Bearer {key}".encode()})
        assert reply.status_code == 401
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert TOKEN not in reply.text
    with openai_for(guarded) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.parametrize("path", ["/v1/files", "/v1/fine_tuning/jobs", "/", "/nothing"])
def test_without_it_nothing_is_told(guarded, path):
    reply = httpx.get(guarded.base_url.removesuffix("/v1") + path)
    assert reply.status_code in (401, 303)


def test_a_browser_without_the_token_is_asked_for_it_and_a_program_is_refused(guarded):
    root = guarded.base_url.removesuffix("/v1")
    asked = httpx.get(root + "/files", headers={"accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/login")
    refused = httpx.get(root + "/files", headers={"accept": "application/json"})
    assert refused.json()["error"]["code"] == "invalid_api_key"


def test_health_is_told_to_everybody(guarded):
    reply = httpx.get(guarded.base_url.removesuffix("/v1") + "/healthz")
    assert (reply.status_code, reply.json()["status"]) == (200, "ok")


def test_the_page_has_a_cookie_that_is_not_the_token(guarded):
    name, value = page_cookie(TOKEN, guarded.data_dir)
    assert TOKEN not in value
    assert httpx.get(f"{guarded.base_url}/models", cookies={name: value}).status_code == 200
    other = page_cookie("other", guarded.data_dir).value
    assert httpx.get(f"{guarded.base_url}/models", cookies={name: other}).status_code == 401


def test_the_cookie_of_a_service_opens_no_other_with_the_same_token(guarded, tmp_path):
    own, other = (page_cookie(TOKEN, folder) for folder in (guarded.data_dir, tmp_path))
    assert own.name != other.name
    for cookies in ({other.name: other.value}, {own.name: other.value}):
        assert httpx.get(f"{guarded.base_url}/models", cookies=cookies).status_code == 401
    both = {own.name: own.value, other.name: other.value}
    assert httpx.get(f"{guarded.base_url}/models", cookies=both).status_code == 200


def test_no_secret_is_in_the_log(guarded):
    with openai_for(guarded, api_key=TOKEN) as client:
        file = ("secret-name.jsonl", chats(10))
        client.files.create(file=file, purpose="fine-tune", extra_query={"hidden": "query"})
    until(lambda: "event=request method=POST path=/v1/files status=200" in guarded.log)
    log = guarded.log
    for word in (TOKEN, page_cookie(TOKEN, guarded.data_dir).value, "query", "Ticket", "secret-name"):
        assert word not in log
    assert TOKEN.encode() not in (guarded.data_dir / "tuneway.db").read_bytes()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_other_peoples_web_pages_are_refused(service, origin):
    reply = httpx.post(f"{service.base_url}/fine_tuning/jobs", json={}, headers={"origin": origin})
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "wrong_origin"


MALFORMED = [
    "evil.example\\@127.0.0.1", "x@127.0.0.1", "127.0.0.1/x", "127.0.0.1, evil.example", "[::1", "]", "[127.0.0.1]",
    "[::1%eth0]", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1?", "é.localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", MALFORMED)
@pytest.mark.parametrize("path", ["/models", "/nothing"])
def test_a_malformed_host_is_refused_with_or_without_a_token(service, guarded, host, path):
    for one, headers in ((service, {}), (guarded, {"authorization": f"Bearer {TOKEN}"})):
        sent = {name.encode(): value.encode("latin-1") for name, value in {"host": host, **headers}.items()}
        reply = httpx.get(one.base_url + path, headers=sent)
        assert reply.status_code == 400
        assert (reply.json()["error"]["param"], reply.json()["error"]["code"]) == ("Host", "invalid_header")


@pytest.mark.parametrize("host", [*MALFORMED, "", "127.0.0.1/files"])
def test_a_malformed_origin_is_refused(service, host):
    reply = httpx.post(f"{service.base_url}/files", headers={b"origin": f"http://{host}".encode("latin-1")})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "Origin"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", ""])
def test_a_rebound_name_is_refused(service, host):
    reply = httpx.get(f"{service.base_url}/models", headers={"host": host})
    assert reply.status_code in (400, 403)


def test_our_own_page_is_welcome(service):
    origin = service.base_url.removesuffix("/v1")
    assert httpx.get(f"{service.base_url}/models", headers={"origin": origin}).status_code == 200
    port = origin.rsplit(":", 1)[1]
    assert httpx.get(f"{service.base_url}/models", headers={"host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("a.localhost", True),
     ("LOCALHOST", True),
     ("10.0.0.1", False), ("0.0.0.0", False), ("example.com", False), ("localhost.example.com", False)],
)  # fmt: skip
def test_loopback_is_known(host, expected):
    assert is_loopback(host) is expected
