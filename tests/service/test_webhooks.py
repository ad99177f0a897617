"""Webhooks: signed so that the `openai` package accepts them, tried again, noted, and never lost."""

from __future__ import annotations

import base64
import json
import socket

import httpx
import openai
import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from support.openai_jobs import chats, openai_for, slow_job, submit, wait_for
from support.receiver import receiver
from support.service import running_service, until

from tuneway_service import webhooks as sending

SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()
ENDS = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]


@pytest.fixture
def endpoint(client):
    """Makes endpoints, and takes them away again."""
    made = []

    def make(url: str, **options):
        made.append(client.webhooks.create(**{"name": "test", "url": url, "event_types": ENDS} | options))
        return made[-1]

    yield make
    for item in made:
        client.webhooks.delete(item.id)


def unwrap(delivery, secret: str):
    return OpenAI(api_key="none", webhook_secret=secret).webhooks.unwrap(delivery.body, delivery.headers)


def test_the_end_of_a_job_is_told_and_the_signature_holds(client, training_file, endpoint):
    with receiver() as there:
        made = endpoint(there.url)
        job = wait_for(client, submit(client, training_file).id)
        until(lambda: there.deliveries)
        event = unwrap(there.deliveries[0], made.signing_secret)
        assert event.type == "fine_tuning.job.succeeded"
        assert event.data.id == job.id
        assert event.id == there.deliveries[0].headers["webhook-id"]
        with pytest.raises(InvalidWebhookSignatureError):
            unwrap(there.deliveries[0], SECRET)


def test_every_way_to_end_has_its_event(client, endpoint):
    with receiver() as there:
        endpoint(there.url)
        few = client.files.create(file=("few.jsonl", chats(3)), purpose="fine-tune")
        failed = wait_for(client, submit(client, few.id).id)
        cancelled = client.fine_tuning.jobs.cancel(slow_job(client).id)
        until(lambda: len(there.deliveries) == 2)
        told = {json.loads(item.body)["data"]["id"]: json.loads(item.body)["type"] for item in there.deliveries}
        assert told == {failed.id: "fine_tuning.job.failed", cancelled.id: "fine_tuning.job.cancelled"}


def test_an_endpoint_gets_only_what_it_asked_for(client, training_file, endpoint):
    with receiver() as there, receiver() as elsewhere:
        endpoint(there.url, event_types=["fine_tuning.job.failed"])
        endpoint(elsewhere.url)
        wait_for(client, submit(client, training_file).id)
        until(lambda: elsewhere.deliveries)
        assert there.deliveries == []


@pytest.mark.slow
def test_a_delivery_that_fails_is_tried_again_and_noted(service, client, endpoint):
    with receiver(500, 302) as there:
        made = endpoint(there.url)
        job = client.fine_tuning.jobs.cancel(slow_job(client).id)
        until(lambda: len(there.deliveries) == 3, seconds=40)
        assert {item.headers["webhook-id"] for item in there.deliveries} == {there.deliveries[0].headers["webhook-id"]}
        log = httpx.get(f"{service.base_url}/webhook_endpoints/{made.id}/deliveries").json()["data"]
        assert [(item["status"], item["attempts"], item["last_status_code"]) for item in log] in (
            [("delivered", 3, 200)],
            [("pending", 2, 302)],
        )
        assert log[0]["event"]["data"]["id"] == job.id


def test_the_pauses_grow_and_end_after_days():
    assert list(sending.PAUSES) == sorted(sending.PAUSES)
    assert 2 * 86400 < sum(sending.PAUSES) < 4 * 86400


@pytest.mark.slow
def test_what_was_not_delivered_when_the_service_died_is_delivered_after():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with running_service() as service, openai_for(service) as client:
        made = client.webhooks.create(name="late", url=f"http://127.0.0.1:{port}/", event_types=ENDS)
        job = client.fine_tuning.jobs.cancel(slow_job(client).id)
        until(lambda: attempts(service, made.id) == 1)
        service.kill()
        with receiver() as there:
            service.start()
            client.webhooks.update(made.id, url=there.url)
            until(lambda: there.deliveries, seconds=20)
            assert json.loads(there.deliveries[0].body)["data"]["id"] == job.id


def attempts(service, endpoint_id: str) -> int:
    log = httpx.get(f"{service.base_url}/webhook_endpoints/{endpoint_id}/deliveries").json()["data"]
    return log[0]["attempts"] if log else 0


@pytest.mark.slow
def test_an_endpoint_given_at_start_needs_no_registering(monkeypatch):
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    with receiver() as there, running_service(webhook_url=there.url) as service, openai_for(service) as client:
        service.restart()
        assert len(list(client.webhooks.list())) == 1
        client.fine_tuning.jobs.cancel(slow_job(client).id)
        until(lambda: there.deliveries)
        assert unwrap(there.deliveries[0], SECRET).type == "fine_tuning.job.cancelled"
        assert SECRET not in service.log


def test_endpoints_are_made_changed_listed_and_removed(client):
    with receiver() as there:
        made = client.webhooks.create(name="one", url=there.url, event_types=ENDS)
        assert made.signing_secret.startswith("whsec_")
        assert made.signing_secret.endswith(made.signing_secret_hint[-4:])
        changed = client.webhooks.update(made.id, name="two", event_types=ENDS[:1])
        assert (changed.name, changed.event_types, changed.url) == ("two", ENDS[:1], there.url)
        assert client.webhooks.retrieve(made.id) == changed
        assert made.id in [item.id for item in client.webhooks.list(limit=1)]
        assert client.webhooks.event_types.list().data == ENDS
        tested = client.webhooks.test(made.id, event_type=ENDS[0])
        assert (tested.status_code, tested.success) == (200, True)
        assert unwrap(there.deliveries[0], made.signing_secret).type == ENDS[0]
        assert client.webhooks.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.webhooks.retrieve(made.id)


def test_an_old_secret_may_sign_along_for_a_day(client, endpoint):
    with receiver() as there:
        made = endpoint(there.url)
        fresh = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
        assert fresh.signing_secret != made.signing_secret
        client.webhooks.test(made.id, event_type=ENDS[0])
        for secret in (made.signing_secret, fresh.signing_secret):
            assert unwrap(there.deliveries[0], secret).type == ENDS[0]
        newest = client.webhooks.rotate_secret(made.id)
        client.webhooks.test(made.id, event_type=ENDS[0])
        assert unwrap(there.deliveries[1], newest.signing_secret)
        with pytest.raises(InvalidWebhookSignatureError):
            unwrap(there.deliveries[1], fresh.signing_secret)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.completed"]}, "event_types[0]"),
    ],
)
def test_an_endpoint_that_cannot_work_is_refused(client, change, param):
    body = {"name": "n", "url": "http://127.0.0.1:1/", "event_types": ENDS} | change
    with pytest.raises(openai.BadRequestError) as caught:
        client.webhooks.create(**body)
    assert caught.value.param == param


def test_an_endpoint_that_cannot_be_reached_says_so_when_tested(client, endpoint):
    made = endpoint("http://127.0.0.1:1/")
    with pytest.raises(openai.BadRequestError, match="can't be reached"):
        client.webhooks.test(made.id, event_type=ENDS[0])
