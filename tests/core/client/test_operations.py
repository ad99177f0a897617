"""Every operation of the API, one to one: method, path, query, body and headers."""

from __future__ import annotations

import inspect
from contextlib import suppress

import pytest
from blockbuster import blockbuster_ctx
from support.fake_service import result_csv
from support.fault_server import answer
from support.operations import ONE_TO_ONE, SPEC, Operation, everything, steps

from tuneway import AsyncClient, Client
from tuneway.errors import WaitTimeout

KEY = "sk-a-key-that-is-one"

# Satisfies every operation: the models take what they know.
ANYTHING = {
    "id": "x", "object": "list", "data": [], "has_more": False, "status": "queued",
    "choices": [{"message": {"content": "yes"}}],
}  # fmt: skip


@pytest.mark.parametrize("operation", ONE_TO_ONE, ids=str)
def test_an_operation_sends_what_the_contract_says(operation, connect, server):
    server.fault(answer(ANYTHING))
    with connect(base_url=server.base_url, api_key=KEY, organization="org-1", project="proj-1") as client:
        operation(client)
    (arrived,) = server.arrived
    assert (arrived.method, arrived.target) == (operation.method, server.prefix + operation.target)
    assert arrived.header("authorization") == f"Bearer {KEY}"
    assert arrived.header("openai-organization") == "org-1"
    assert arrived.header("openai-project") == "proj-1"
    assert arrived.header("transfer-encoding") is None
    if operation.form:
        assert [(p.named("name"), p.named("filename"), p.content) for p in arrived.parts] == list(operation.form)
    elif operation.body is not None:
        assert arrived.header("content-type") == "application/json"
        assert arrived.json == operation.body
    elif operation.method == "POST":
        assert (arrived.header("content-type"), arrived.header("content-length")) == ("application/json", "0")
    else:
        assert (arrived.header("content-type"), arrived.header("content-length")) == (None, None)


async def test_no_operation_blocks_the_loop(server, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 12)
    server.service.add_file()
    for _ in range(2):
        job = server.service.add_job(result_files=["file-1"])
        server.service.finish(job["id"], "succeeded")
    server.service.contents["file-1"] = result_csv("1,2.0,0.5,,")
    operations = [
        *ONE_TO_ONE,
        *steps(path),
        Operation("validate", lambda client: client.validate(path)),
        Operation("files.create", lambda client: client.files.create(path)),
        Operation("uploads.add_part", lambda client: client.uploads.add_part("upload-1", data=path)),
    ]
    server.fault(answer(ANYTHING), "POST", "/chat/completions", times=1000)
    async with AsyncClient(base_url=server.base_url, settle=0) as client:
        for operation in operations:
            if operation in ONE_TO_ONE or operation.name == "uploads.add_part":
                server.fault(answer(ANYTHING))
            with blockbuster_ctx():
                value = operation.call(client)
                if inspect.isasyncgen(value):
                    async for _ in value:
                        pass
                else:
                    with suppress(WaitTimeout):  # of the job that is created here, and never ends
                        await value


def test_the_table_of_operations_is_complete(tmp_path):
    known = {operation.name for operation in [*ONE_TO_ONE, *steps(tmp_path)]} | {"check", "validate"}
    with Client(base_url="http://localhost") as client:
        assert set(everything(client)) == known


def test_both_clients_offer_the_same_in_the_same_words():
    with Client(base_url="http://localhost") as client:
        other = AsyncClient(base_url="http://localhost")
        assert list(everything(client)) == list(everything(other))
        for name in [*everything(client), "__init__"]:
            ours, theirs = client, other
            for part in name.split("."):
                ours, theirs = getattr(ours, part), getattr(theirs, part)
            assert parameters(ours) == parameters(theirs), name
            assert words(ours) == words(theirs), name
        assert words(Client) == words(AsyncClient)


def parameters(method: object) -> list[tuple[str, object, object, str]]:
    """A method's signature, in which only what it returns may differ."""
    return [
        (p.name, p.kind, p.default, str(p.annotation).replace("Async", ""))
        for p in inspect.signature(method).parameters.values()  # type: ignore[arg-type]
    ]


def words(documented: object) -> list[str]:
    """A docstring, but for the one sentence that says what kind of client it is."""
    text = inspect.getdoc(documented) or ""
    assert text, documented
    if not inspect.isclass(documented):
        return text.splitlines()
    return [line.replace("Async", "") for line in text.partition("Args:")[2].splitlines()]


def test_both_namespaces_have_the_same_words():
    with Client(base_url="http://localhost") as client:
        other = AsyncClient(base_url="http://localhost")
        for name in ("files", "uploads", "jobs", "models", "checkpoints", "graders"):
            assert inspect.getdoc(getattr(client, name)) == inspect.getdoc(getattr(other, name))


def test_a_call_without_a_key_carries_none(connect, server):
    with connect(base_url=server.base_url) as client:
        list(client.jobs.list())
    assert server.arrived[0].header("authorization") is None


@pytest.mark.parametrize("identifier", ["", " ", ".", "..", "\ud800", None, 5, b"job", '{"id": 1}', "x" * 2001])
def test_what_is_no_id_is_refused_before_anything_is_sent(identifier, connect, server):
    from tuneway import InvalidSpec

    with connect(base_url=server.base_url) as client, pytest.raises(InvalidSpec, match="is not an id"):
        client.jobs.retrieve(identifier)
    assert server.arrived == []


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("ft:gpt-4o-mini:org:näme:1", "ft:gpt-4o-mini:org:n%C3%A4me:1"),
        ("../../files", "..%2F..%2Ffiles"),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("%2E%2E%2Ffiles", "%252E%252E%252Ffiles"),
        ("//evil.example/x", "%2F%2Fevil.example%2Fx"),
        ("a\\..\\b\r\nhost: x\x00", "a%5C..%5Cb%0D%0Ahost:%20x%00"),
    ],
)
def test_an_id_never_leaves_its_place_in_the_path(identifier, path, connect, server):
    server.fault(answer(ANYTHING))
    with connect(base_url=server.base_url) as client:
        client.models.retrieve(identifier)
    assert server.arrived[0].target == f"/v1/models/{path}"


@pytest.mark.parametrize("job_id", ["../files", "ftjob-1/../../models", "?after=x", "%2e%2e", "ftjob-1#x"])
def test_an_id_that_the_service_made_up_never_leaves_its_place_either(job_id, connect, server):
    server.fault(answer({"id": job_id, "status": "running"}), times=9)
    with connect(base_url=server.base_url) as client:
        job = client.jobs.create(SPEC)
        for act in (client.jobs.retrieve, client.pause, client.resume, client.cancel):
            act(job.id)
    assert {tuple(arrival.path.split("/")[1:4]) for arrival in server.arrived} == {("v1", "fine_tuning", "jobs")}
    assert [len(arrival.path.split("/")) for arrival in server.arrived[1:]] == [5, 6, 6, 6]
    assert {arrival.query for arrival in server.arrived} == {""}


def test_a_redirect_is_not_followed_even_by_an_http_client_that_would(server):
    import httpx

    from tuneway import Client
    from tuneway.errors import BadReply

    server.fault(answer(b"", 307, location="/v1/models"))
    with (
        httpx.Client(follow_redirects=True) as http,
        Client(base_url=server.base_url, http=http) as client,
        pytest.raises(BadReply, match="unexpected redirect"),
    ):
        client.jobs.retrieve("ftjob-1")
    assert len(server.arrived) == 1
