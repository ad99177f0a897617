"""A dialect is everything by which a service differs: here, one that is made up."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping

import pytest
from support import datasets
from support.fault_server import FaultServer, answer

from tuneway import InvalidSpec, JobSpec, Recipe, TunewayError
from tuneway.calls import Call, FilePart, Form, Request, Response, Source
from tuneway.dialects import DIALECTS, OPENAI, Dialect, ServiceOption, json_reply, translated
from tuneway.errors import BadReply, BadRequest, ConnectionFailed, OverBudget
from tuneway.flows import Account, Flow, Offers, OpenAIFiles, Quote, Retry, request
from tuneway.models import File

KEY = "a-key-that-opens-doors"
SIGNATURE = "X-Sig=0123456789abcdef"
HERE = frozenset({302, 409})


def _out(request: Request) -> Request:
    return dataclasses.replace(request, path=request.path.replace("/fine_tuning/jobs", "/tunings"))


def _back(request: Request, response: Response) -> Response:
    if response.status >= 400 or not request.path.startswith("/fine_tuning/jobs/"):
        return response
    theirs = json.loads(response.content)
    return json_reply(response, {"id": theirs["name"], "status": theirs["state"]})


class SignedFiles(OpenAIFiles):
    """Files that are sent to a store, whose address the service gives."""

    def upload(
        self, account: Account, source: Source, *, name: str, sha256: str, purpose: str, expires_after: int | None
    ) -> Flow[File]:
        """Ask where the file is to be sent, and send it there."""
        assert expires_after is None
        form = Form((("purpose", purpose), ("checksum", sha256)))
        begin = yield from request(
            account, Call(Request("POST", "/files", form=form, answers=HERE), lambda reply: reply)
        )
        if begin.status == 409:
            return File(**json.loads(begin.content))
        put = Request(
            "PUT", f"the upload of {name}", address=begin.headers["location"], content=FilePart("", name, source),
            headers={"content-type": "application/octet-stream"},
        )  # fmt: skip
        yield from request(account, Call(put, lambda reply: reply))
        return File(id=begin.headers["x-file-id"], filename=name)


def _configured(dialect: Dialect, options: Mapping[str, str]) -> Dialect:
    def out(request: Request) -> Request:
        return dataclasses.replace(request, path=f"/accounts/{options.get('account', 'nobody')}{request.path}")

    return dataclasses.replace(dialect, exchange=translated(out)) if options else dialect


OWN = Dialect(
    name="own",
    speaks=lambda host: host == "own.example",
    exchange=translated(_out, _back),
    files=SignedFiles(),
    offers=Offers(seed=False, pause=False),
    authorise=lambda key: {"x-own-key": key},
    key_variables=("OWN_API_KEY",),
    options=(ServiceOption("account", "whose jobs they are", variable="OWN_ACCOUNT"),),
    configure=_configured,
)


@pytest.fixture
def client(connect, server):
    account = {"api_key": KEY, "organization": "org", "project": "proj", "retry": Retry(attempts=1)}
    with connect(base_url=server.base_url, dialect=OWN, **account) as client:
        yield client


def test_requests_and_replies_are_translated(client, server):
    server.fault(answer({"name": "t-1", "state": "running"}), "GET", "/tunings/t-1")
    job = client.jobs.retrieve("t-1")
    assert (job.id, job.status) == ("t-1", "running")
    assert [(one.method, one.path) for one in server.arrived] == [("GET", "/v1/tunings/t-1")]


def test_the_key_goes_into_the_headers_of_the_dialect(client, server):
    server.fault(answer({"name": "t-1", "state": "running"}))
    client.jobs.retrieve("t-1")
    assert server.arrived[0].header("x-own-key") == KEY
    assert server.arrived[0].header("authorization") is None


def test_a_refusal_of_the_service_is_raised(client, server):
    server.fault(answer({"error": {"message": "no such tuning"}}, 400))
    with pytest.raises(BadRequest, match="no such tuning"):
        client.jobs.retrieve("t-1")


def test_a_file_goes_to_the_address_that_the_service_gives_without_the_key(client, server, tmp_path):
    data = datasets.write(tmp_path / "train.jsonl", datasets.good_rows(count=12))
    store = f"{server.base_url}/store/1?{SIGNATURE}"
    server.fault(answer(b"", 302, location=store, x_file_id="file-7"), "POST", "/files")
    server.fault(answer(b""), "PUT")
    assert client.upload(data).id == "file-7"
    begin, put = server.arrived
    assert [(part.named("name"), part.named("filename")) for part in begin.parts] == [
        ("purpose", None),
        ("checksum", None),
    ]
    assert put.body == data.read_bytes()
    assert put.target.endswith(f"/store/1?{SIGNATURE}")
    secret = ("authorization", "x-own-key", "openai-organization", "openai-project")
    assert [put.header(name) for name in secret] == [None] * 4
    assert (put.header("content-type"), put.header("content-length")) == (
        "application/octet-stream",
        str(data.stat().st_size),
    )


def test_a_status_that_is_an_answer_is_no_error(client, server, tmp_path):
    data = datasets.write(tmp_path / "train.jsonl", datasets.good_rows(count=12))
    server.fault(answer({"id": "file-3"}, 409), "POST", "/files")
    assert client.upload(data).id == "file-3"


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_a_signed_address_appears_in_no_error_and_no_log(status, client, server, tmp_path, caplog):
    data = datasets.write(tmp_path / "train.jsonl", datasets.good_rows(count=12))
    store = f"{server.base_url}/store/1?{SIGNATURE}"
    server.fault(answer(b"", 302, location=store, x_file_id="file-7"), "POST", "/files")
    server.fault(answer(f"<Error>{store}</Error>".encode(), status), "PUT", times=9)
    told = ""
    with caplog.at_level(logging.DEBUG):
        try:
            client.upload(data)
        except TunewayError as error:
            told = f"{error} {error!r}"
    assert status == 200 or told
    assert {"httpx", "httpcore.http11"} <= {record.name for record in caplog.records}, "else this test sees nothing"
    assert SIGNATURE not in caplog.text + told


@pytest.mark.parametrize("address", ["ftp://store.example/x?X-Sig=0123456789abcdef", "nowhere"])
def test_an_address_that_can_not_be_used_is_refused_without_naming_it(address, client, server, tmp_path):
    data = datasets.write(tmp_path / "train.jsonl", datasets.good_rows(count=12))
    server.fault(answer(b"", 302, location=address, x_file_id="file-7"), "POST", "/files")
    with pytest.raises(BadReply, match="the service named") as caught:
        client.upload(data)
    assert address not in str(caught.value)


def test_a_store_that_can_not_be_reached_is_not_named(connect, server, tmp_path):
    data = datasets.write(tmp_path / "train.jsonl", datasets.good_rows(count=12))
    server.fault(answer(b"", 302, location=f"http://127.0.0.1:9/x?{SIGNATURE}", x_file_id="f"), "POST", "/files")
    with (
        connect(base_url=server.base_url, dialect=OWN, retry=Retry(attempts=1)) as client,
        pytest.raises(ConnectionFailed, match="can't reach its file store") as caught,
    ):
        client.upload(data)
    assert SIGNATURE not in str(caught.value)


def test_what_is_not_offered_is_refused_before_any_request(client, server, tmp_path):
    data = datasets.write(tmp_path / "train.jsonl", datasets.good_rows(count=12))
    recipe = Recipe(model="m", training_data=data, seed=1)
    spec = JobSpec(model="m", training_file="file-1", seed=1)
    for refused in (
        lambda: client.check(recipe),
        lambda: client.start(recipe),
        lambda: client.fine_tune(recipe),
        lambda: client.submit(spec),
        lambda: client.jobs.create(spec),
    ):
        with pytest.raises(InvalidSpec, match="seed: own takes no seed"):
            refused()
    with pytest.raises(InvalidSpec, match="own can't pause a job"):
        client.pause("t-1")
    assert server.arrived == []


@pytest.mark.parametrize("given", [{"account": "acme"}, None])
def test_an_option_comes_from_the_argument_or_the_environment(given, connect, server, monkeypatch):
    monkeypatch.setenv("OWN_ACCOUNT", "of-the-environment")
    server.fault(answer({"id": "t-1", "status": "queued"}))
    with connect(base_url=server.base_url, dialect=OWN, service_options=given) as client:
        client.jobs.retrieve("t-1")
    account = "acme" if given else "of-the-environment"
    assert server.arrived[0].path == f"/v1/accounts/{account}/fine_tuning/jobs/t-1"


@pytest.mark.parametrize(
    ("dialect", "given", "told"),
    [
        (OWN, {"acount": "x"}, "own takes no option 'acount'"),
        (OWN, {"account": 7}, "account is not a text"),
        (OPENAI, {"account": "x"}, "openai takes no option 'account'"),
    ],
)
def test_an_unknown_option_is_refused_with_those_that_are_known(dialect, given, told, connect, server):
    with (
        pytest.raises(InvalidSpec, match=told) as caught,
        connect(base_url=server.base_url, dialect=dialect, service_options=given),
    ):
        pass
    assert caught.value.field == "service_options"


def test_a_budget_is_held_against_the_price_of_the_service_where_it_says_one(connect, tmp_path):
    def quote(_account: Account, _spec: JobSpec) -> Flow[Quote]:
        yield from ()
        return Quote(usd=7.0)

    priced = Dialect(name="priced", speaks=lambda _host: False, quote=quote, offers=Offers(quote=True))
    data = datasets.write(tmp_path / "train.jsonl", datasets.good_rows(count=12))
    recipe = Recipe(model="a-model-without-a-known-price", training_data=data, max_usd=6.99)
    with FaultServer() as server, connect(base_url=server.base_url, dialect=priced, settle=0) as client:
        assert client.check(recipe).ok, "its own price is asked for when the data is there"
        for refused in (
            lambda: client.fine_tune(recipe),
            lambda: client.start(recipe),
            lambda: client.start(JobSpec(model="m", training_file="file-1"), max_usd=6.99),
            lambda: client.submit(JobSpec(model="m", training_file="file-1"), max_usd=6.99),
        ):
            with pytest.raises(OverBudget, match=r"priced estimates \$7.00, more than max_usd=\$6.99"):
                refused()
        assert server.service.jobs == []
        assert client.start(recipe.model_copy(update={"max_usd": 7.0})).job.id == "ftjob-1"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_dialect_offers_a_quote_if_it_has_one(dialect):
    assert dialect.offers.quote == (dialect.quote is not None)
