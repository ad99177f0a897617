"""Services differ on the wire. What the `openai` package really sends to each is captured, and compared with ours."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from support.arrivals import Arrival
from support.fault_server import FaultServer, answer
from support.operations import MESSAGES, ONE_TO_ONE, Operation

from tuneway import Client, InvalidSpec
from tuneway.dialects import AZURE, AZURE_DATED, DIALECTS, NEBIUS, OPENAI, OPENAI_WIRE, reason

KEY = "a-key-that-opens-doors"
DATED = "2025-04-01-preview"

ANYTHING = {
    "id": "x", "object": "list", "data": [], "has_more": False, "status": "queued",
    "choices": [{"message": {"role": "assistant", "content": "yes"}, "index": 0, "finish_reason": "stop"}],
}  # fmt: skip

SHARED = [operation for operation in ONE_TO_ONE if operation.theirs]


def on_the_wire(arrival: Arrival) -> dict[str, Any]:
    """What matters of a request, the order of its query and the seam of its form aside."""
    kind = arrival.header("content-type")
    length = arrival.header("content-length")
    return {
        "method": arrival.method,
        "path": arrival.path,
        "query": sorted(filter(None, arrival.query.split("&"))),
        "key": (arrival.header("authorization"), arrival.header("api-key")),
        "account": (arrival.header("openai-organization"), arrival.header("openai-project")),
        # the package names a content type on DELETE too, without a body: noise
        "kind": kind.partition(";")[0] if kind and arrival.method == "POST" else None,
        "length": length if arrival.body == b"" and arrival.method == "POST" else None,
        "body": arrival.json if arrival.body and not arrival.parts else None,
        "form": [(part.named("name"), part.named("filename"), part.content) for part in arrival.parts],
    }


def both(server: FaultServer, operation: Operation, ours: Client, theirs: openai.OpenAI) -> tuple[Any, Any]:
    """The same wish, sent by us and by the package."""
    assert operation.theirs is not None
    server.fault(answer(ANYTHING), times=2)
    operation(ours)
    operation.theirs(theirs)
    assert len(server.arrived) == 2
    return on_the_wire(server.arrived[0]), on_the_wire(server.arrived[1])


@pytest.mark.parametrize("operation", SHARED, ids=str)
def test_openai_gets_what_its_own_package_sends(operation, server):
    options: dict[str, Any] = {"base_url": server.base_url, "api_key": KEY, "organization": "org", "project": "proj"}
    with Client(**options) as ours, openai.OpenAI(**options, max_retries=0) as theirs:
        sent, expected = both(server, operation, ours, theirs)
    assert sent == expected


@pytest.mark.parametrize("operation", SHARED, ids=str)
def test_azure_gets_what_the_package_for_azure_sends(operation):
    with (
        FaultServer(prefix="/openai") as server,
        Client(base_url=server.origin, api_key=KEY, api_version=DATED, dialect="azure") as ours,
        openai.AzureOpenAI(azure_endpoint=server.origin, api_key=KEY, api_version=DATED, max_retries=0) as theirs,
    ):
        sent, expected = both(server, operation, ours, theirs)
    assert sent == expected
    assert expected["key"] == (None, KEY)
    assert f"api-version={DATED}" in expected["query"]


@pytest.mark.parametrize("operation", SHARED, ids=str)
def test_azure_without_a_version_gets_the_paths_that_the_package_sends(operation):
    with (
        FaultServer(prefix="/openai/v1") as server,
        Client(base_url=server.origin, api_key=KEY, dialect="azure") as ours,
        openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as theirs,
    ):
        sent, expected = both(server, operation, ours, theirs)
    # Azure takes the key in either header; its own is the one that both of its APIs know
    assert (sent.pop("key"), expected.pop("key")) == ((None, KEY), (f"Bearer {KEY}", None))
    assert sent == expected


def test_a_chat_goes_to_its_deployment_on_dated_azure_only():
    with FaultServer(prefix="/openai") as server:
        server.fault(answer(ANYTHING), times=2)
        with Client(base_url=server.origin, api_key=KEY, api_version=DATED, dialect="azure") as client:
            client.ask("my model/1", MESSAGES)
        with Client(base_url=server.origin, api_key=KEY, dialect="azure") as client:
            client.ask("my model/1", MESSAGES)
    assert [arrival.target for arrival in server.arrived] == [
        f"/openai/deployments/my%20model%2F1/chat/completions?api-version={DATED}",
        "/openai/v1/chat/completions",
    ]


@pytest.mark.parametrize(
    ("base_url", "version", "dialect", "root"),
    [
        ("https://api.openai.com/v1", None, OPENAI, "https://api.openai.com/v1"),
        ("https://api.openai.com/v1", DATED, OPENAI, "https://api.openai.com/v1"),
        ("https://gateway.example.org/v1/", None, OPENAI_WIRE, "https://gateway.example.org/v1"),
        ("https://api.studio.nebius.com/v1/", None, NEBIUS, "https://api.studio.nebius.com/v1"),
        ("https://azure.com.example.org/v1", None, OPENAI_WIRE, "https://azure.com.example.org/v1"),
        ("https://me.openai.azure.com", None, AZURE, "https://me.openai.azure.com/openai/v1"),
        ("https://ME.OpenAI.Azure.com/", None, AZURE, "https://ME.OpenAI.Azure.com/openai/v1"),
        ("https://me.openai.azure.com/v1", None, AZURE, "https://me.openai.azure.com/openai/v1"),
        ("https://me.openai.azure.com/openai", None, AZURE, "https://me.openai.azure.com/openai/v1"),
        ("https://me.openai.azure.com/openai/v1/", None, AZURE, "https://me.openai.azure.com/openai/v1"),
        ("https://me.openai.azure.com/openai/v1", DATED, AZURE, "https://me.openai.azure.com/openai/v1"),
        ("https://me.openai.azure.com", DATED, AZURE_DATED, "https://me.openai.azure.com/openai"),
        ("https://me.openai.azure.com/openai/", DATED, AZURE_DATED, "https://me.openai.azure.com/openai"),
        ("https://me.services.ai.azure.com", None, AZURE, "https://me.services.ai.azure.com/openai/v1"),
        ("https://me.cognitiveservices.azure.com", None, AZURE, "https://me.cognitiveservices.azure.com/openai/v1"),
        ("https://me.openai.azure.us", None, AZURE, "https://me.openai.azure.us/openai/v1"),
    ],
)
def test_the_dialect_is_guessed_from_the_address(base_url, version, dialect, root):
    with Client(base_url=base_url, api_key=KEY, api_version=version) as client:
        assert client._wire.dialect is dialect
        assert client.base_url == root


@pytest.mark.parametrize(
    ("base_url", "version", "dialect"),
    [
        ("https://gateway.example/openai/v1", DATED, AZURE),
        ("https://gateway.example/openai/v1", None, AZURE),
        ("https://gateway.example", DATED, AZURE_DATED),
    ],
)
def test_a_named_dialect_takes_the_variant_that_suits(base_url, version, dialect):
    with Client(base_url=base_url, api_key=KEY, api_version=version, dialect="azure") as client:
        assert client._wire.dialect is dialect


def test_an_unknown_dialect_is_refused_with_the_known_ones():
    names = ", ".join(sorted({dialect.name for dialect in DIALECTS}))
    with pytest.raises(InvalidSpec, match=f"known: {names}") as caught:
        Client(api_key=KEY, dialect="klingon")
    assert caught.value.field == "dialect"


def test_the_environment_holds_azures_key_and_version(monkeypatch):
    monkeypatch.setenv("OPENAI_API_VERSION", DATED)
    monkeypatch.setenv("OPENAI_API_KEY", "the other")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    with FaultServer(prefix="/openai") as server, Client(base_url=server.origin, dialect="azure") as client:
        list(client.jobs.list())
    assert server.arrived[0].target == f"/openai/fine_tuning/jobs?api-version={DATED}"
    assert server.arrived[0].header("api-key") == KEY


@pytest.mark.parametrize(
    ("base_url", "dialect", "why"),
    [
        ("https://api.openai.com/v1", None, "its host is api.openai.com"),
        ("https://api.tokenfactory.nebius.com", None, "its host is api.tokenfactory.nebius.com"),
        ("https://gateway.example/v1", None, "no other dialect knows the host gateway.example"),
        ("https://gateway.example/v1", "azure", "asked for; the host gateway.example doesn't say"),
    ],
)
def test_a_dialect_says_why_it_is_used(base_url, dialect, why):
    with Client(base_url=base_url, api_key=KEY, dialect=dialect) as client:
        wire = client._wire
        assert reason(DIALECTS, wire.dialect, wire.base_url, None) == why
