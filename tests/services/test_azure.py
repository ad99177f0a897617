"""Azure beside Microsoft's own packages: tokens of azure-identity, sent as the `openai` package sends them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.fault_server import FaultServer, answer

from tuneway import Client
from tuneway.dialects.azure import SCOPE
from tuneway.errors import ConnectionFailed
from tuneway.flows import Retry

core = pytest.importorskip("azure.core.credentials", reason="needs tuneway[azure]")
identity = pytest.importorskip("azure.identity", reason="needs tuneway[azure]")
openai = pytest.importorskip("openai")

JOB = {"id": "ftjob-1", "object": "fine_tuning.job", "status": "running"}


class Credential:
    """A way of signing in whose tokens last so many seconds."""

    def __init__(self, lasts: float = 3600.0) -> None:
        self.lasts = lasts
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> Any:
        self.scopes += scopes
        return core.AccessToken(f"token-number-{len(self.scopes)}", int(time.time() + self.lasts))

    def get_token_info(self, *scopes: str, **_: Any) -> Any:
        token = self.get_token(*scopes)
        return core.AccessTokenInfo(token.token, token.expires_on)


@pytest.fixture
def azure() -> Iterator[FaultServer]:
    with FaultServer(prefix="/openai/v1") as server:
        server.fault(answer(JOB), times=3)
        yield server


def shown(server: FaultServer) -> list[tuple[str | None, str | None]]:
    return [(arrival.header("authorization"), arrival.header("api-key")) for arrival in server.arrived]


def test_a_token_provider_of_azure_identity_is_a_key_for_both_packages(azure):
    provider = identity.get_bearer_token_provider(Credential(), SCOPE)
    with Client(base_url=azure.origin, dialect="azure", api_key=provider) as ours:
        ours.jobs.retrieve("ftjob-1")
    with openai.OpenAI(base_url=azure.base_url, api_key=provider, max_retries=0) as theirs:
        theirs.fine_tuning.jobs.retrieve("ftjob-1")
    assert shown(azure) == [("Bearer token-number-1", None)] * 2


@pytest.mark.parametrize("method", ["get_token", "get_token_info"])
def test_a_token_of_azure_core_says_when_it_ends(method, azure):
    credential = Credential(lasts=10.0)
    give = getattr(credential, method)
    with Client(base_url=azure.origin, dialect="azure", api_key=lambda: give(SCOPE)) as client:
        client.jobs.retrieve("ftjob-1")
        client.jobs.retrieve("ftjob-1")
    assert shown(azure) == [("Bearer token-number-1", None), ("Bearer token-number-2", None)]


def test_entra_id_asks_the_default_credential_for_the_scope_of_azure_openai(azure, monkeypatch):
    signed_in = Credential()
    monkeypatch.setattr(
        identity.DefaultAzureCredential, "get_token", lambda _self, *scopes, **_: signed_in.get_token(*scopes)
    )
    with Client(base_url=azure.origin, dialect="azure", service_options={"auth": "entra"}) as client:
        client.jobs.retrieve("ftjob-1")
    assert shown(azure) == [("Bearer token-number-1", None)]
    assert signed_in.scopes == ["https://cognitiveservices.azure.com/.default"]


def test_a_machine_that_is_not_signed_in_says_so(azure, monkeypatch):
    def nobody(_self: object, *_scopes: str, **_: object) -> Any:
        raise identity.CredentialUnavailableError(message="EnvironmentCredential: no account")

    monkeypatch.setattr(identity.DefaultAzureCredential, "get_token", nobody)
    options = {"dialect": "azure", "service_options": {"auth": "entra"}, "retry": Retry(attempts=1)}
    with (
        Client(base_url=azure.origin, **options) as client,
        pytest.raises(ConnectionFailed, match="CredentialUnavailableError: EnvironmentCredential: no account"),
    ):
        client.jobs.retrieve("ftjob-1")
    assert azure.arrived == []
