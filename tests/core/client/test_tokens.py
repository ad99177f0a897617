"""Tokens that expire take the place of a key: asked for once, and again when they end or are refused."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support.fault_server import FaultServer, answer
from support.operations import SPEC

from tuneway import AsyncClient, Client, InvalidSpec, TunewayError
from tuneway.errors import ConnectionFailed, InvalidInput, MissingExtra, Unauthorized
from tuneway.flows import Retry

JOB = {"id": "ftjob-1", "status": "running"}
OVER = {"error": {"code": "401", "message": "Access token is missing, invalid, or expired."}}
SOON, LATER = 30.0, 3600.0


class Tokens:
    """Gives `token-number-1` and so on, each of which lasts so many seconds; None for one without an end."""

    def __init__(
        self, *lasts: float | None, form: Callable[[str, float], Any] = lambda token, end: (token, end)
    ) -> None:
        self.lasts = list(lasts)
        self.form = form
        self.asked = 0
        self.threads: set[int] = set()

    def __call__(self) -> Any:
        self.asked += 1
        self.threads.add(threading.get_ident())
        token = f"token-number-{self.asked}"
        last = self.lasts[min(self.asked, len(self.lasts)) - 1] if self.lasts else None
        return token if last is None else self.form(token, time.time() + last)


def shown(server: FaultServer) -> list[str | None]:
    """The tokens that the service saw, in order."""
    return [arrival.header("authorization") for arrival in server.arrived]


@pytest.fixture
def ask(connect, server):
    """Retrieves a job so many times, with these tokens."""

    def run(tokens: Any, times: int, **options: Any) -> Any:
        with connect(base_url=server.base_url, api_key=tokens, **options) as client:
            return [client.jobs.retrieve("ftjob-1") for _ in range(times)][-1]

    server.fault(answer(JOB), times=9)
    return run


def test_a_token_is_asked_for_once_as_long_as_it_is_good(ask, server):
    tokens = Tokens(LATER)
    ask(tokens, 3)
    assert tokens.asked == 1
    assert shown(server) == ["Bearer token-number-1"] * 3


def test_a_token_without_an_end_is_kept_until_it_is_refused(connect, server):
    tokens = Tokens()
    for reply in (answer(JOB), answer(OVER, 401), answer(JOB), answer(JOB)):
        server.fault(reply)
    with connect(base_url=server.base_url, api_key=tokens) as client:
        for _ in range(3):
            client.jobs.retrieve("ftjob-1")
    assert shown(server) == [f"Bearer token-number-{number}" for number in (1, 1, 2, 2)]


def test_a_new_token_is_asked_for_shortly_before_the_old_one_ends(ask, server):
    tokens = Tokens(SOON, LATER)
    ask(tokens, 3)
    assert shown(server) == [f"Bearer token-number-{number}" for number in (1, 2, 2)]


@pytest.mark.parametrize(
    "form",
    [
        lambda token, end: (token, end),
        lambda token, end: (token, int(end)),
        lambda token, end: SimpleNamespace(token=token, expires_on=int(end)),
        lambda token, _end: SimpleNamespace(token=token),
        lambda token, _end: (token, None),
        lambda token, _end: f" {token}\n",
    ],
)
def test_a_token_comes_in_each_of_these_forms(form, ask, server):
    ask(Tokens(LATER, form=form), 1)
    assert shown(server) == ["Bearer token-number-1"]


@pytest.mark.parametrize("given", [None, "", 7, b"token", ("token", "tomorrow"), ("token", True), "tok\nen", "täken"])
def test_what_is_no_token_is_refused_before_anything_is_sent(given, ask, server):
    with pytest.raises(InvalidInput, match=r"^api_key: the function that gives the token gave ") as caught:
        ask(lambda: given, 1)
    assert "tok\nen" not in str(caught.value)
    assert server.arrived == []


def test_a_create_that_a_token_was_refused_for_is_sent_again_with_a_new_one(connect, server):
    server.fault(answer(OVER, 401))
    server.fault(answer(JOB))
    with connect(base_url=server.base_url, api_key=Tokens(LATER, LATER), retry=Retry(attempts=1)) as client:
        assert client.jobs.create(SPEC).id == "ftjob-1"
    assert shown(server) == ["Bearer token-number-1", "Bearer token-number-2"]
    assert [arrival.method for arrival in server.arrived] == ["POST", "POST"]


def test_a_refusal_of_a_new_token_too_is_raised(connect, server):
    server.fault(answer(OVER, 401), times=2)
    with (
        connect(base_url=server.base_url, api_key=Tokens(LATER)) as client,
        pytest.raises(Unauthorized, match="missing, invalid, or expired"),
    ):
        client.jobs.retrieve("ftjob-1")
    assert shown(server) == ["Bearer token-number-1", "Bearer token-number-2"]


def test_the_same_token_again_is_not_sent_again(connect, server):
    server.fault(answer(OVER, 401))
    with connect(base_url=server.base_url, api_key=lambda: "always-the-same") as client, pytest.raises(Unauthorized):
        client.jobs.retrieve("ftjob-1")
    assert len(server.arrived) == 1


def test_a_function_that_fails_is_asked_again_as_a_service_that_is_not_there(ask, server):
    tokens = Tokens(LATER)
    failures = [OSError("no route to the metadata service"), ValueError("half a reply")]

    def sometimes() -> Any:
        if failures:
            raise failures.pop()
        return tokens()

    ask(sometimes, 1, retry=Retry(first=0.001, longest=0.002))
    assert shown(server) == ["Bearer token-number-1"]


def test_a_function_that_always_fails_is_named_with_its_reason(connect, server):
    def fails() -> str:
        raise OSError("no credential\nhere")

    with (
        connect(base_url=server.base_url, api_key=fails, retry=Retry(attempts=1)) as client,
        pytest.raises(ConnectionFailed, match="there is no token: OSError: no credential") as caught,
    ):
        client.jobs.retrieve("ftjob-1")
    assert server.arrived == []
    assert "\nhere" not in caught.value.message


def test_a_token_appears_in_no_error_and_no_log(connect, server, caplog):
    tokens = Tokens(SOON)
    told = []

    def forgetful() -> Any:
        if tokens.asked == 2:
            raise OSError("the cache has token-number-2, which is over")
        return tokens()

    with (
        caplog.at_level(logging.DEBUG),
        connect(base_url=server.base_url, api_key=forgetful, retry=Retry(attempts=1)) as client,
    ):
        for known in ("token-number-1", "token-number-1, token-number-2"):
            server.fault(answer({"error": {"message": known, "code": known}}, 400, x_request_id=known))
        for _ in range(3):
            with pytest.raises(TunewayError) as caught:
                client.jobs.retrieve("ftjob-1")
            told += [str(caught.value), repr(vars(caught.value)), repr(client)]
    assert len(server.arrived) == 2
    assert {"httpx", "httpcore.http11"} <= {record.name for record in caplog.records}, "else this test sees nothing"
    assert "token-number" not in caplog.text + "".join(told)


def test_an_asyncio_client_asks_a_blocking_function_in_a_thread(server):
    tokens = Tokens(LATER)
    server.fault(answer(JOB))

    async def main() -> None:
        async with AsyncClient(base_url=server.base_url, api_key=tokens) as client:
            await client.jobs.retrieve("ftjob-1")

    asyncio.run(main())
    assert tokens.threads
    assert threading.get_ident() not in tokens.threads


class AwaitedTokens(Tokens):
    async def __call__(self) -> Any:
        await asyncio.sleep(0)
        return super().__call__()


@pytest.mark.parametrize("wrap", [lambda tokens: tokens, functools.partial], ids=["itself", "wrapped"])
def test_an_asyncio_client_awaits_a_coroutine_function_and_many_tasks_ask_once(wrap, server):
    tokens = AwaitedTokens(LATER)
    server.fault(answer(JOB), times=5)

    async def main() -> None:
        async with AsyncClient(base_url=server.base_url, api_key=wrap(tokens)) as client:
            await asyncio.gather(*(client.jobs.retrieve("ftjob-1") for _ in range(5)))

    asyncio.run(main())
    assert tokens.asked == 1
    assert shown(server) == ["Bearer token-number-1"] * 5


def test_a_blocking_client_says_that_it_can_not_await(server):
    with (
        Client(base_url=server.base_url, api_key=AwaitedTokens(LATER)) as client,
        pytest.raises(InvalidInput, match="a coroutine, which only AsyncClient can await"),
    ):
        client.jobs.retrieve("ftjob-1")


def test_a_function_counts_as_a_key_for_a_service_elsewhere():
    with Client(base_url="https://service.example/v1", api_key=Tokens()) as client:
        assert "token" not in repr(client)


# --- Azure ---


@pytest.fixture
def credential(monkeypatch):
    """The package azure-identity, as far as a client uses it."""
    made: list[Any] = []

    class DefaultAzureCredential:
        def __init__(self) -> None:
            made.append(self)
            self.scopes: list[str] = []
            self.tokens = Tokens(SOON, LATER, form=lambda token, end: SimpleNamespace(token=token, expires_on=int(end)))

        def get_token(self, *scopes: str) -> Any:
            self.scopes += scopes
            return self.tokens()

    identity = ModuleType("azure.identity")
    identity.DefaultAzureCredential = DefaultAzureCredential  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "azure", ModuleType("azure"))
    monkeypatch.setitem(sys.modules, "azure.identity", identity)
    return made


def test_azure_takes_tokens_of_entra_id(connect, server, credential):
    server.fault(answer(JOB), times=3)
    options = {"dialect": "azure", "service_options": {"auth": "entra"}}
    with connect(base_url=f"{server.origin}/openai/v1", **options) as client:
        for _ in range(3):
            client.jobs.retrieve("ftjob-1")
    assert shown(server) == [f"Bearer token-number-{number}" for number in (1, 2, 2)]
    assert [arrival.header("api-key") for arrival in server.arrived] == [None] * 3
    assert [one.scopes for one in credential] == [["https://cognitiveservices.azure.com/.default"] * 2]


def test_any_function_that_gives_tokens_serves_azure_too(connect, server):
    server.fault(answer(JOB))
    with connect(base_url=f"{server.origin}/openai/v1", dialect="azure", api_key=Tokens(LATER)) as client:
        client.jobs.retrieve("ftjob-1")
    assert (shown(server), server.arrived[0].header("api-key")) == (["Bearer token-number-1"], None)


def test_a_key_and_entra_id_together_are_refused(credential):
    with pytest.raises(InvalidSpec, match="can't both be given") as caught:
        Client(base_url="https://me.openai.azure.com", api_key="a-key", service_options={"auth": "entra"})
    assert caught.value.field == "api_key"
    assert [one.scopes for one in credential] == [[]]


def test_a_key_of_the_environment_gives_way_to_entra_id(connect, server, credential, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-the-environment")
    server.fault(answer(JOB))
    options = {"dialect": "azure", "service_options": {"auth": "entra"}}
    with connect(base_url=f"{server.origin}/openai/v1", **options) as client:
        client.jobs.retrieve("ftjob-1")
    assert shown(server) == ["Bearer token-number-1"]
    assert len(credential) == 1


def test_without_azure_identity_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(MissingExtra, match="azure-identity") as caught:
        Client(base_url="https://me.openai.azure.com", service_options={"auth": "entra"})
    assert caught.value.extra == "azure"


def test_a_way_of_signing_in_that_azure_does_not_have_is_refused():
    with pytest.raises(InvalidSpec, match="auth can't be 'enter'"):
        Client(base_url="https://me.openai.azure.com", service_options={"auth": "enter"})


@pytest.mark.parametrize("api_version", [None, "2025-04-01-preview"])
def test_azures_training_type_goes_into_each_create(api_version, connect, server):
    server.fault(answer(JOB), times=3)
    options = {"dialect": "azure", "service_options": {"training_type": "globalStandard"}, "api_version": api_version}
    with connect(base_url=server.origin, **options) as client:
        client.jobs.create(SPEC)
        client.jobs.create(SPEC.model_copy(update={"extra_body": {"trainingType": "developerTier"}}))
        client.jobs.cancel("ftjob-1")
    first, second, cancel = server.arrived
    assert first.json == {"trainingType": "globalStandard", **SPEC.to_wire()}
    assert second.json["trainingType"] == "developerTier"
    assert cancel.body == b""


def test_a_refused_question_to_azure_says_that_the_model_must_be_deployed_first(connect, server):
    server.fault(answer({"error": {"code": "DeploymentNotFound", "message": "no such deployment"}}, 404))
    with (
        connect(base_url=f"{server.origin}/openai/v1", dialect="azure", api_key="a-key") as client,
        pytest.raises(TunewayError, match="only after you have deployed it"),
    ):
        client.ask("ft:gpt-4.1::abc", [{"role": "user", "content": "?"}])


def test_a_refused_question_to_openai_does_not_speak_of_deploying(connect, server):
    server.fault(answer({"error": {"message": "no such model"}}, 404))
    with connect(base_url=server.base_url) as client, pytest.raises(TunewayError) as caught:
        client.ask("ft:gpt-4.1::abc", [{"role": "user", "content": "?"}])
    assert "deployed" not in str(caught.value)
