"""What a client is given, and what it takes from the environment: named when wrong, and never quoted when secret."""

from __future__ import annotations

from http.cookiejar import CookieJar
from typing import Any

import pytest
from support.fault_server import FaultServer, answer

from tuneway import AsyncClient, Client, InvalidSpec, Poll
from tuneway.errors import ConnectionFailed
from tuneway.flows import LOCAL_POLL, Retry

KEY = "sk-something-secret-0123456789"
SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_the_environment_fills_in_what_is_left_out(connect, server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")
    with connect() as client:
        list(client.jobs.list())
    with connect(api_key="sk-mine", organization="org-mine", project="proj-mine") as client:
        list(client.jobs.list())
    sent = [
        tuple(arrival.header(name) for name in ("authorization", "openai-organization", "openai-project"))
        for arrival in server.arrived
    ]
    assert sent == [(f"Bearer {KEY}", "org-env", "proj-env"), ("Bearer sk-mine", "org-mine", "proj-mine")]


def test_an_empty_variable_is_none(connect, server, monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_VERSION"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with connect() as client:
        assert client.base_url == "https://api.openai.com/v1"
    with connect(base_url=server.base_url) as client:
        list(client.jobs.list())
    assert server.arrived[0].header("openai-organization") is None


def test_white_space_around_a_key_or_an_address_is_cut(connect, server):
    with connect(base_url=f" {server.base_url}/ \n", api_key=f"{KEY}\n") as client:
        list(client.jobs.list())
    assert server.arrived[0].target == "/v1/fine_tuning/jobs"
    assert server.arrived[0].header("authorization") == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:8000/v1",
        "http://127.0.0.1/v1",
        "http://[::1]:80/v1",
        "http://tuneway.localhost",
        "HTTP://LOCALHOST",
    ],
)
def test_a_service_on_this_machine_needs_no_key_and_is_asked_often(base_url, kind):
    client = kind(base_url=base_url)
    assert client._account.local
    assert client._account.poll == LOCAL_POLL


@pytest.mark.parametrize(
    "base_url", [None, "https://example.com/v1", "http://localhost.example.com", "http://10.0.0.1"]
)
def test_a_service_elsewhere_needs_a_key_and_says_where_to_put_it(base_url, kind):
    with pytest.raises(InvalidSpec, match="no API key") as caught:
        kind(base_url=base_url)
    assert caught.value.field == "api_key"
    assert "OPENAI_API_KEY" in str(caught.value)
    client = kind(base_url=base_url, api_key=KEY)
    assert not client._account.local
    assert client._account.poll == Poll()


def test_azures_missing_key_names_azures_variable(kind):
    with pytest.raises(InvalidSpec, match="AZURE_OPENAI_API_KEY"):
        kind(base_url="https://me.openai.azure.com")


@pytest.mark.parametrize(
    "base_url",
    [
        "example.com/v1", "localhost:8000", "//example.com", "ftp://example.com/v1", "file:///etc", "http://", "http:///v1",
        "https://example.com:port/v1", "https://example.com:99999999/v1", "https://[::1", "https://exa\nmple.com",
        "https://exa mple.com", "https://example.com/\0", f"user:{SECRET}@example.com/v1", f"{SECRET}",
        f"https://user:{SECRET}@example.com/v1", f"https://{SECRET}@example.com", f"https://:{SECRET}@example.com",
        f"https://example.com/v1?api-key={SECRET}", f"https://example.com/v1#{SECRET}", f"https://user:{SECRET}@[::1",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_and_never_quoted(base_url, kind, monkeypatch):
    with pytest.raises(InvalidSpec) as caught:
        kind(base_url=base_url, api_key=KEY)
    assert caught.value.field == "base_url"
    assert caught.value.hint
    monkeypatch.setenv("OPENAI_BASE_URL", base_url.replace("\0", "\1"))
    with pytest.raises(InvalidSpec) as also:
        kind(api_key=KEY)
    for error in (caught.value, also.value):
        assert SECRET not in str(error) + repr(error) + str(vars(error))
        assert "example" not in str(error)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("timeout", [0, -1, float("inf"), float("nan"), None, "60"]),
        ("settle", [-1, float("inf"), float("nan"), "20"]),
        ("lookup_pages", [0, -3, float("nan"), "5", None]),
    ],
)
def test_a_number_that_makes_no_sense_is_named(option, values, kind):
    for value in values:
        with pytest.raises(InvalidSpec, match=f"{option} can't be") as caught:
            kind(**{"base_url": "http://localhost", option: value})
        assert caught.value.field == option


@pytest.mark.parametrize(
    ("field", "value"),
    [("minimum", 0), ("minimum", -1), ("maximum", 1), ("growth", 1), ("jitter", 1), ("jitter", -0.1), ("tolerance", 0)],
)
def test_a_schedule_that_makes_no_sense_is_named(field, value):
    with pytest.raises(InvalidSpec, match=f"poll.{field} can't be") as caught:
        Poll(**{field: value})
    assert caught.value.field == f"poll.{field}"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(("poll", "field"), [({"minimum": "soon"}, "poll.minimum"), ({"least": 1}, "poll")])
def test_fields_of_a_schedule_that_make_no_sense_are_named(kind, poll, field):
    with pytest.raises(InvalidSpec) as caught:
        kind(base_url="http://localhost", poll=poll)
    assert caught.value.field == field


# --- Proxies. ---


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_service_on_this_machine_is_asked_directly_whatever_proxy_is_set(connect, server, proxied):
    with connect(base_url=server.base_url) as client:
        assert list(client.jobs.list()) == []
    assert len(server.arrived) == 1


def test_a_service_elsewhere_is_asked_through_the_proxy_of_the_environment(connect, monkeypatch):
    with FaultServer(prefix="") as proxy:
        proxy.fault(answer({"object": "list", "data": []}))
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with connect(base_url="http://tuneway.invalid/v1", api_key=KEY) as client:
            assert list(client.jobs.list()) == []
    (arrival,) = proxy.arrived
    assert arrival.target == "http://tuneway.invalid/v1/fine_tuning/jobs"


def test_a_proxy_that_is_not_there_sent_nothing(connect, proxied):
    options = {"base_url": "https://tuneway.invalid/v1", "api_key": KEY, "retry": Retry(attempts=1), "timeout": 5.0}
    with connect(**options) as client, pytest.raises(ConnectionFailed) as caught:
        client.jobs.retrieve("ftjob-1")
    assert caught.value.processed is False


def test_a_proxy_that_refuses_to_connect_sent_nothing(connect, monkeypatch):
    with FaultServer(prefix="") as proxy:
        proxy.fault(answer(b"", 407))
        monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        options = {"base_url": "https://tuneway.invalid/v1", "api_key": KEY, "retry": Retry(attempts=1)}
        with connect(**options) as client, pytest.raises(ConnectionFailed, match="407"):
            client.jobs.retrieve("ftjob-1")
        assert [(arrival.method, arrival.target) for arrival in proxy.arrived] == [("CONNECT", "tuneway.invalid:443")]
        assert KEY not in str(proxy.arrived)


def test_cookies_are_neither_kept_nor_sent(connect, server):
    server.fault(answer({"object": "list", "data": []}, set_cookie="session=1; path=/"))
    with connect(base_url=server.base_url) as client:
        list(client.jobs.list())
        list(client.jobs.list())
    assert [arrival.header("cookie") for arrival in server.arrived] == [None, None]


def test_the_jar_is_one_that_httpx_takes():
    from tuneway.client._settings import NoCookies

    assert isinstance(NoCookies(), CookieJar)
