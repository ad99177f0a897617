"""Clients that hang up: their answer stops, the model's process stays, and nobody else's answer suffers."""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from support.answerers import answerers, busy
from support.datasets import to_bytes
from support.openai_jobs import openai_for, submit, wait_for
from support.service import running_service, until

from tuneway_service.answers import ModelQuestion
from tuneway_service.answers.processes import TrainersModel
from tuneway_service.answers.shelf import Shelf
from tuneway_service.refusals import Refusal
from tuneway_service.slots import Slots

GO_ON = [{"role": "user", "content": "go on 3"}]
# of this length, an answer takes hours
ENDLESS = {"messages": GO_ON, "temperature": 0, "max_tokens": 10**9}


@pytest.fixture(scope="module")
def model(client):
    """A model whose answers don't end."""
    rows = [
        {"messages": [{"role": "user", "content": f"go on {n}"}, {"role": "assistant", "content": "ab" * 3000}]}
        for n in range(12)
    ]
    file = client.files.create(file=("endless.jsonl", to_bytes(rows)), purpose="fine-tune")
    return wait_for(client, submit(client, file.id, seed=2).id).fine_tuned_model


def ask(client, model: str) -> str:
    reply = client.chat.completions.create(model=model, messages=GO_ON, temperature=0, max_tokens=4)
    return reply.choices[0].message.content


@contextmanager
def sent(service, body):
    """A request that is sent, and whose reply nobody reads."""
    address = urlsplit(service.base_url)
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-length: {len(content)}\r\n\r\n"
    with closing(socket.create_connection((address.hostname, address.port))) as connection:
        connection.sendall(head.encode() + content)
        yield connection


@pytest.mark.slow
def test_a_stream_that_a_client_leaves_stops_and_the_process_stays(service, client, model):
    assert ask(client, model) == "abab"
    (process,) = answerers(service.pid)
    for _ in range(2):
        body = ENDLESS | {"model": model, "stream": True}
        with httpx.stream("POST", f"{service.base_url}/chat/completions", json=body) as reply:
            chunks = reply.iter_raw()
            assert all(next(chunks) for _ in range(20))
        until(lambda: not busy(service.pid))
        # the one process answers one question at a time: an answer that went on would hold this one up
        assert ask(client, model) == "abab"
        assert list(answerers(service.pid)) == [process]


@pytest.mark.parametrize("options", [{}, {"n": 3}])
def test_an_answer_that_a_client_no_longer_waits_for_stops(service, client, model, options):
    assert ask(client, model) == "abab"
    (process,) = answerers(service.pid)
    with sent(service, ENDLESS | options | {"model": model}):
        until(lambda: busy(service.pid))
    until(lambda: not busy(service.pid))
    assert ask(client, model) == "abab"
    assert list(answerers(service.pid)) == [process]


def test_who_hangs_up_while_waiting_takes_nothing_from_whom_the_model_answers(service, client, model):
    body = ENDLESS | {"model": model, "stream": True}
    with httpx.stream("POST", f"{service.base_url}/chat/completions", json=body) as reply:
        chunks = reply.iter_raw()
        next(chunks)
        (process,) = answerers(service.pid)
        for options in ({}, {"stream": True}):
            with sent(service, ENDLESS | options | {"model": model}) as connection:
                connection.settimeout(0.1)
                with pytest.raises(TimeoutError):  # it waits for its turn
                    connection.recv(1)
        for _ in range(100):
            assert b'"content": "' in next(chunks)
    assert ask(client, model) == "abab"
    assert list(answerers(service.pid)) == [process]


@pytest.mark.slow
def test_an_answer_to_one_client_is_whole_while_others_come_and_go(service, client, model):
    chunks = client.chat.completions.create(model=model, messages=GO_ON, temperature=0, max_tokens=300, stream=True)
    with sent(service, ENDLESS | {"model": model}):
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "ab" * 150
    assert ask(client, model) == "abab"


@pytest.mark.slow
def test_the_log_says_that_a_client_hung_up(tmp_path):
    with running_service(tmp_path / "data", log_level="info", models={"base": "bytes"}) as running:
        with sent(running, {"model": "base", "messages": GO_ON}):
            pass
        until(lambda: "status=499" in running.log, told=lambda: running.log)
        with openai_for(running) as client:
            assert client.chat.completions.create(model="base", messages=GO_ON).choices


ABRUPT = ModelQuestion({"messages": GO_ON, "temperature": 0, "max_tokens": 3})


def on(shelf: Shelf, trainer: str) -> TrainersModel:
    return TrainersModel(shelf, trainer, None, lambda: 0)


async def test_a_model_goes_on_loading_when_the_first_to_ask_leaves():
    shelf = Shelf(Slots(None))
    model = on(shelf, "bytes")
    try:
        with anyio.move_on_after(0.05):
            await model.whole(ABRUPT)
        with anyio.move_on_after(0.05):
            await model.whole(ABRUPT)
        loading = set(answerers(os.getpid()))
        assert len(loading) == 1
        assert (await model.whole(ABRUPT))["choices"][0]["message"]["content"] == "I a"
        assert set(answerers(os.getpid())) == loading
    finally:
        await shelf.close()
    assert not answerers(os.getpid())


@pytest.mark.slow
async def test_no_process_is_left_when_memory_is_short():
    shelf = Shelf(Slots(None), memory=lambda device: (5, 100))
    try:
        for name in ("bytes", "no", "none"):
            with suppress(Refusal):  # some can't be loaded
                await on(shelf, name).whole(ABRUPT)
            assert len(answerers(os.getpid())) <= 1
    finally:
        await shelf.close()
    assert not answerers(os.getpid())
