"""Where webhooks go: an address that can't be harms no other delivery, and some addresses get none."""

from __future__ import annotations

import socket
import sqlite3
import ssl
import threading
from contextlib import asynccontextmanager, closing

import anyio
import anyio.lowlevel
import openai
import pytest
from support.receiver import QuietHandler, receiver, serving
from support.service import until

from tuneway.errors import InvalidSpec
from tuneway_service import webhook_addresses
from tuneway_service import webhooks as sending
from tuneway_service.settings import Settings
from tuneway_service.store import webhooks
from tuneway_service.store.database import Database

ENDS = list(webhooks.EVENT_TYPES)
NO_ADDRESSES = [
    "ftp://there", "file:///etc/passwd", "there", "http:///x", "http://:80/", "http://a b/", "http://a..b/", "http://[::1/",
    "http://xn--a/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://127.0.0.1:x/", f"http://{'a' * 64}/",
]  # fmt: skip
REFUSED = [
    "http://169.254.169.254/latest", "https://169.254.0.1:8080/", "http://2852039166/", "http://0xa9fea9fe/",
    "http://169.254.43518/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[fd00:ec2::254]/",
    "http://[::ffff:169.254.169.254]/", "http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/", "http://100.100.100.200/", "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[::ffff:0:a9fe:a9fe]/",
]  # fmt: skip
ORDINARY = [
    "http://127.0.0.1:9/", "http://[::1]:9/", "http://localhost/", "http://10.0.0.7/", "http://192.168.1.2:8080/hook",
    "http://[fd00::7]/", "https://example.com/a?b=c", "https://bücher.example/", "http://a_b/",
]  # fmt: skip


@pytest.mark.parametrize("url", [*NO_ADDRESSES, *REFUSED])
def test_an_address_that_nothing_can_be_sent_to_is_refused_when_it_is_given(client, url):
    with pytest.raises(openai.BadRequestError) as caught:
        client.webhooks.create(name="n", url=url, event_types=ENDS)
    assert caught.value.param == "url"


@pytest.mark.parametrize("url", ORDINARY)
def test_loopback_and_private_networks_are_ordinary_receivers(url):
    assert webhook_addresses.problem(url, link_local=False) is None


def test_an_address_is_also_checked_when_it_changes(client):
    made = client.webhooks.create(name="n", url="http://127.0.0.1:9/", event_types=ENDS)
    with pytest.raises(openai.BadRequestError) as caught:
        client.webhooks.update(made.id, url="http://127.0.0.1:99999/")
    assert caught.value.param == "url"
    assert client.webhooks.retrieve(made.id).url == made.url
    client.webhooks.delete(made.id)


def test_link_local_addresses_are_allowed_by_an_option(tmp_path):
    for url in REFUSED:
        assert webhook_addresses.problem(url, link_local=True) is None
    options = {"data_dir": tmp_path, "webhook_url": REFUSED[0], "webhook_secret": webhooks.new_secret()}
    assert Settings(**options, link_local_webhooks=True).webhook_url == REFUSED[0]
    with pytest.raises(InvalidSpec, match="link-local"):
        Settings(**options)


# the sender alone


@asynccontextmanager
async def sender(tmp_path, *urls: str, link_local: bool = False):
    """A sender at work, and what queues an event for each of its endpoints."""
    database = Database(tmp_path / "hooks.db")
    for url in urls:
        database.write_now(webhooks.add, name="n", url=url, event_types=ENDS)
    working = sending.Sender(database, link_local=link_local)

    async def tell() -> None:
        await database.write(webhooks.announce, ENDS[0], {"id": "ftjob-1"})
        working.wake()

    async with anyio.create_task_group() as group:
        group.start_soon(working.run)
        await anyio.lowlevel.checkpoint()
        yield tell
        group.cancel_scope.cancel()
    database.close()


async def eventually(condition) -> None:
    await anyio.to_thread.run_sync(until, condition)


async def test_a_stored_address_that_cannot_be_stops_no_other_delivery(tmp_path):
    bad = {"http://127.0.0.1:99999/": "no port 99999", "http://xn--a/": "isn't an address", "ftp://there/": "https://"}
    with receiver() as there:
        async with sender(tmp_path, *bad, there.url) as tell:
            for count in (1, 2):
                await tell()
                await eventually(lambda count=count: len(there.deliveries) == count)
            await eventually(lambda: all(errors(tmp_path, url) for url in bad))
        # after a restart
        async with sender(tmp_path) as tell:
            await tell()
            await eventually(lambda: len(there.deliveries) == 3)
    for url, words in bad.items():
        assert words in errors(tmp_path, url)[0]


def errors(tmp_path, url: str) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "hooks.db")) as database:
        query = (
            "SELECT last_error FROM deliveries AS d JOIN webhook_endpoints AS e ON e.id = d.endpoint_id WHERE e.url = ?"
        )
        return [error for (error,) in database.execute(query, (url,)) if error]


async def test_an_endpoint_that_never_answers_delays_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT", 600)
    monkeypatch.setattr(sending, "TOTAL_TIMEOUT", 600)
    released, hanging = threading.Event(), []

    class Hangs(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server calls it so
            hanging.append(self.headers["webhook-id"])
            released.wait(60)

    with serving(Hangs) as hangs, receiver() as there:
        hangs.daemon_threads = True
        async with sender(tmp_path, f"http://127.0.0.1:{hangs.server_port}/", there.url) as tell:
            for count in range(1, 2 * sending.EACH):
                await tell()
                await eventually(lambda count=count: len(there.deliveries) == count)
            await eventually(lambda: len(hanging) == sending.EACH)
        released.set()
    assert len(hanging) == len(set(hanging)) == sending.EACH


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(tmp_path, status):
    with receiver() as elsewhere:
        came = []

        class Redirects(QuietHandler):
            def do_POST(self) -> None:  # noqa: N802 - http.server calls it so
                self.rfile.read(int(self.headers["content-length"]))
                self.answer(status, location=elsewhere.url)
                came.append(self.path)

        with serving(Redirects) as server:
            async with await sending.http_client(link_local=False) as client:
                url = f"http://127.0.0.1:{server.server_port}/"
                assert await sending.attempt(client, delivery(url)) == (status, None)
        assert came == ["/"]
        assert elsewhere.deliveries == []


def delivery(url: str) -> dict[str, object]:
    return {"id": "evt_1", "url": url, "event": "{}", "secret": webhooks.new_secret(), "old_secret": None}


class Names(list[list[str]]):
    """What each look-up finds, and the names that were looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []


@pytest.fixture
def names(monkeypatch):
    """What names stand for, look-up by look-up."""
    answers = Names()

    def getaddrinfo(host, port, *_, **__):
        answers.asked.append(host)
        if not answers:
            raise socket.gaierror(-2, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip in answers.pop(0)
        ]

    monkeypatch.setattr("tuneway_service.webhook_transport.socket.getaddrinfo", getaddrinfo)
    return answers


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254", "fd00:ec2::254"])
async def test_a_name_that_stands_for_a_metadata_service_gets_nothing(names, address):
    names.append([address])
    async with await sending.http_client(link_local=False) as client:
        status, error = await sending.attempt(client, delivery("http://innocent.example/"))
    assert status is None
    assert "link-local" in error


async def test_a_delivery_connects_to_the_address_that_was_checked(names):
    with receiver() as there:
        port = there.url.split(":")[2].split("/")[0]
        # a name that stands for another address at the next look-up
        names.extend([["127.0.0.1"], ["169.254.169.254"]])
        async with await sending.http_client(link_local=False) as client:
            assert await sending.attempt(client, delivery(f"http://rebinds.example:{port}/hook")) == (200, None)
            assert names.asked == ["rebinds.example"]
            assert there.deliveries[0].headers["host"] == f"rebinds.example:{port}"
            status, error = await sending.attempt(client, delivery(f"http://rebinds.example:{port}/hook"))
    assert (status, len(there.deliveries)) == (None, 1)
    assert "link-local" in error


async def test_the_addresses_of_a_name_are_tried_one_after_another(names):
    with receiver() as there:
        port = there.url.split(":")[2].split("/")[0]
        names.append(["169.254.169.254", "::1", "127.0.0.1"])
        async with await sending.http_client(link_local=False) as client:
            assert await sending.attempt(client, delivery(f"http://several.example:{port}/hook")) == (200, None)
    assert len(there.deliveries) == 1


async def test_a_name_that_stands_for_nothing_is_an_error_of_the_delivery(names):
    async with await sending.http_client(link_local=False) as client:
        status, error = await sending.attempt(client, delivery("http://nobody.example/"))
    assert status is None
    assert "nobody.example" in error


@pytest.mark.parametrize("link_local", [True, False])
async def test_the_option_also_holds_for_what_a_name_stands_for(monkeypatch, link_local):
    monkeypatch.setattr("tuneway_service.webhook_transport.is_refused", lambda _: True)
    with receiver() as there:
        async with await sending.http_client(link_local=link_local) as client:
            status, _ = await sending.attempt(client, delivery(there.url))
        assert (status == 200) == link_local == bool(there.deliveries)


async def test_a_certificate_is_asked_for_by_the_name_and_not_by_the_address(names):
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: asked.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        names.append(["127.0.0.1"])

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(OSError, match=r"(?i)ssl"):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        async with await sending.http_client(link_local=False) as client:
            port = listener.getsockname()[1]
            status, _ = await sending.attempt(client, delivery(f"https://named.example:{port}/"))
        thread.join()
    assert (status, asked) == (None, ["named.example"])
