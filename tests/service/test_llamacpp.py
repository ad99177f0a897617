"""Answers by llama.cpp under the real service, beside those of Transformers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import openai
import pytest
from openai import OpenAI
from support.answerers import LLAMA, answerers, busy
from support.datasets import to_bytes
from support.openai_jobs import TEAMS, chats, openai_for, submit, wait_for
from support.service import RunningService, running_service, until

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")
pytest.importorskip("xllamacpp", reason="needs the extra `llamacpp`")

from support.tiny_llama import MERGES, make_tiny_llama, make_tokenizer

from tuneway_service.answers import ModelQuestion
from tuneway_service.answers.llamacpp.files import GgufFiles, GgufModel
from tuneway_service.answers.llamacpp.model import LlamaModel
from tuneway_service.answers.shelf import Shelf
from tuneway_service.refusals import Refusal
from tuneway_service.settings import Settings
from tuneway_service.slots import Slots
from tuneway_service.trainers import Chat, make_trainer
from tuneway_service.trainers.hf.base import find_base
from tuneway_service.trainers.hf.facts import PREFIX

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BASE, OTHER, PLAIN = "gpt-4o-mini", "no-merges", "plain"
# the token that ends an answer never comes
NO_END = {"2": -100}
CALL = {"name": "route", "arguments": '{"team": "mobile"}'}
CALLING = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": CALL}]}
ROUTE = {"type": "function", "function": {"name": "route", "parameters": {"type": "object"}}}
BILLING = {"type": "object", "properties": {"team": {"enum": ["billing"]}}, "required": ["team"]}
# what the model has learned to call it with doesn't fit
STRICT = {"type": "function", "function": {"name": "route", "parameters": BILLING, "strict": True}}
QUESTIONS = [[{"role": "user", "content": f"Ticket {n}: the {thing} is in trouble"}] for n, thing in enumerate(TEAMS)]


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    base = make_tiny_llama(folder / "tiny", tokenizer=make_tokenizer(merges=MERGES), context_length=1024)
    other = make_tiny_llama(folder / "other")
    models = {BASE: str(base), OTHER: str(other), PLAIN: "bytes"}
    with running_service(folder / "data", models=models, serve_with="llamacpp") as running:
        yield running


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[OpenAI]:
    with openai_for(service) as made:
        yield made


@pytest.fixture(scope="module")
def tuned(client: OpenAI) -> list[str]:
    """Two tuned models of one base; the second calls a tool."""
    calling = [{"messages": [*QUESTIONS[0], CALLING], "tools": [tool]} for tool in (ROUTE, STRICT)] * 6
    names = []
    for rows, epochs in ((chats(12), 2), (to_bytes(calling), 10)):
        file = client.files.create(file=("train.jsonl", rows), purpose="fine-tune").id
        knobs = {"n_epochs": epochs, "batch_size": 4, "learning_rate_multiplier": 5}
        method = {"type": "supervised", "supervised": {"hyperparameters": knobs}}
        names.append(submit(client, file, method=method, seed=1, model=BASE).id)
    return [str(wait_for(client, job, seconds=200).fine_tuned_model) for job in names]


def texts(client: Any, model: str, **options) -> list[str]:
    """The likeliest answers, or others if the options say so."""
    asked = {"model": model, "temperature": 0, "max_tokens": 12} | options
    return [
        str(client.chat.completions.create(messages=question, **asked).choices[0].message.content)
        for question in QUESTIONS
    ]


def card(client: OpenAI, name: str) -> dict[str, Any]:
    """The model card."""
    return client.models.retrieve(name).to_dict()


def by_transformers(client: OpenAI, service: RunningService, name: str) -> Chat:
    """The same model, loaded here."""
    trainer = make_trainer(card(client, BASE)["trainer"]["trainer"])
    if name == BASE:
        return trainer.base_model()
    return trainer.load_model(service.data_dir / "jobs" / card(client, name)["fine_tuning_job_id"] / "model")


def test_each_model_answers_as_transformers_does_and_all_share_one_process(service, client, tuned):
    # a broken character at the end may be shown or not
    names = [BASE, *tuned]
    answered = {name: [text.rstrip("\ufffd") for text in texts(client, name)] for name in [*names, *names[::-1]]}
    for name in names:
        assert card(client, name)["engine"] == {"name": "llamacpp"}
        model = by_transformers(client, service, name)
        expected = ["".join(model.complete(question, max_tokens=12)).rstrip("\ufffd") for question in QUESTIONS]
        assert answered[name] == expected
        reply = model.complete_prompt("the hello", max_tokens=8)
        text = "".join(reply)
        likely = client.completions.create(model=name, prompt="the hello", temperature=0, max_tokens=8)
        assert likely.choices[0].text.rstrip("\ufffd") == text.rstrip("\ufffd")
        assert likely.usage.prompt_tokens == reply.prompt_tokens
    assert len({str(found) for found in answered.values()}) == 3
    until(lambda: len(answerers(service.pid, LLAMA)) == 1)
    assert not answerers(service.pid)


def test_a_tuned_model_calls_the_tool_that_it_was_tuned_to_call(client, tuned):
    asked = {"model": tuned[1], "messages": QUESTIONS[0], "temperature": 0}
    choice = client.chat.completions.create(**asked, tools=[ROUTE]).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert [call.function.model_dump() for call in choice.message.tool_calls] == [CALL]
    chunks = list(client.chat.completions.create(**asked, tools=[ROUTE], stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.function.model_dump() for call in calls] == [CALL]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    choice = client.chat.completions.create(**asked, tools=[STRICT]).choices[0]
    assert json.loads(choice.message.tool_calls[0].function.arguments)["team"] == "billing"


def test_a_streamed_answer_has_the_same_text_and_its_usage(client, tuned):
    asked = {"model": tuned[0], "messages": QUESTIONS[0], "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).rstrip(
        "\ufffd"
    ) == whole.choices[0].message.content.rstrip("\ufffd")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert {(chunk.id, chunk.model) for chunk in chunks} == {(chunks[0].id, tuned[0])}
    assert whole.model == tuned[0]
    assert whole.id.startswith("chatcmpl-")


def test_several_answers_and_prompts_are_counted_and_a_seed_repeats_them(client, tuned):
    asked = {"model": tuned[0], "messages": QUESTIONS[0], "n": 4, "max_tokens": 6}
    first, again, other = (client.chat.completions.create(**asked, seed=seed) for seed in (5, 5, -(2**63)))
    assert [choice.index for choice in first.choices] == [0, 1, 2, 3]
    said = [[choice.message.content for choice in reply.choices] for reply in (first, again, other)]
    assert said[0] == said[1] != said[2]
    assert len(set(said[0])) > 1
    one = client.chat.completions.create(**asked | {"n": 1})
    assert first.usage.prompt_tokens == one.usage.prompt_tokens
    prompts = client.completions.create(model=BASE, prompt=["the", "hello"], n=2, max_tokens=2, temperature=0)
    assert [choice.index for choice in prompts.choices] == [0, 1, 2, 3]
    assert prompts.choices[0].text == prompts.choices[1].text


def test_a_model_that_cannot_be_written_as_gguf_is_answered_by_transformers_and_the_log_says_why(service, client):
    assert card(client, OTHER)["engine"] == {"name": "llamacpp"}
    assert client.chat.completions.create(model=OTHER, messages=QUESTIONS[0], max_tokens=2).choices
    found = card(client, OTHER)["engine"]
    assert found["name"] == "transformers"
    assert "a vocabulary without merges" in found["why"]
    assert "a vocabulary without merges" in service.log
    assert card(client, PLAIN)["engine"] == {"name": "bytes"}


def test_a_conversation_that_is_too_long_is_refused(client):
    long = [{"role": "user", "content": "hello 1 " * 1000}]
    with pytest.raises(openai.BadRequestError, match=r"has \d+ tokens; .* context has 1024"):
        client.chat.completions.create(model=BASE, messages=long, max_tokens=2)


def test_many_ask_at_once_and_each_gets_its_own_answer(client, tuned):
    names = [BASE, *tuned]
    expected = {name: texts(client, name) for name in names}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda name: texts(client, name), names * 2))
    assert found == [expected[name] for name in names * 2]


def test_an_answer_whose_process_is_killed_is_an_error_and_the_next_is_answered(service, client, tuned):
    expected = texts(client, tuned[0])
    chunks = client.chat.completions.create(
        model=tuned[0], messages=QUESTIONS[0], temperature=0, max_tokens=900, stream=True, logit_bias=NO_END
    )
    next(chunks)
    (process,) = answerers(service.pid, LLAMA)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="model's process ended"):
        list(chunks)
    assert texts(client, tuned[0]) == expected
    assert list(answerers(service.pid, LLAMA)) != [process]


def test_who_hangs_up_ends_their_own_answer_alone(service, client, tuned):
    body = {"model": tuned[0], "messages": QUESTIONS[0], "temperature": 0, "max_tokens": 900, "logit_bias": NO_END}
    expected = texts(client, tuned[1])
    (process,) = answerers(service.pid, LLAMA)
    for streams in (True, False):
        asked = body | {"stream": streams}
        with (
            suppress(httpx.ReadTimeout),
            httpx.stream("POST", f"{service.base_url}/chat/completions", json=asked, timeout=0.3) as reply,
        ):
            next(reply.iter_raw())
        assert texts(client, tuned[1]) == expected
        until(lambda: not busy(service.pid, LLAMA))
    assert list(answerers(service.pid, LLAMA)) == [process]


async def test_a_new_adapter_takes_over_without_losing_an_answer(service, client, tuned):
    trainer = card(client, BASE)["trainer"]["trainer"]
    jobs = service.data_dir / "jobs"
    folders = [jobs / card(client, name)["fine_tuning_job_id"] / "model" for name in tuned]
    files, shelf = GgufFiles(Settings(data_dir=service.data_dir)), Shelf(Slots(None))
    first, second = [LlamaModel(shelf, await files.of(trainer, folder), files.refuse) for folder in folders]
    question = ModelQuestion({"messages": QUESTIONS[0], "temperature": 0, "max_tokens": 300, "logit_bias": NO_END})
    expected = texts(client, tuned[1])[0]
    try:
        async with aclosing(first.chunks(question)) as chunks:
            pieces = [await anext(chunks)]
            (before,) = answerers(os.getpid(), LLAMA)
            reply = await second.whole(ModelQuestion(question.body | {"max_tokens": 12, "logit_bias": {}}))
            assert reply["choices"][0]["message"]["content"] == expected
            assert len(answerers(os.getpid(), LLAMA)) == 2
            pieces += [chunk async for chunk in chunks]
        assert pieces[-1]["usage"]["completion_tokens"] == 300
        await anyio.to_thread.run_sync(lambda: until(lambda: before not in answerers(os.getpid(), LLAMA)))
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in pieces[:-1])
        whole = await first.whole(question)
        assert whole["choices"][0]["message"]["content"].rstrip("\ufffd") == text.rstrip("\ufffd")
        assert len(answerers(os.getpid(), LLAMA)) == 1
    finally:
        await shelf.close()
    assert not answerers(os.getpid(), LLAMA)


async def test_a_model_that_llama_cpp_cannot_load_is_left_to_transformers(client, tmp_path):
    weights, refused, shelf = tmp_path / "broken.gguf", [], Shelf(Slots(None))
    weights.write_bytes(b"GGUF, but broken")
    gguf = GgufModel(find_base(card(client, BASE)["trainer"]["trainer"].removeprefix(PREFIX)), weights, None)
    with pytest.raises(Refusal, match="can't load this model") as caught:
        await LlamaModel(shelf, gguf, refused.append).whole(ModelQuestion({"messages": QUESTIONS[0]}))
    assert (caught.value.status, refused) == (503, [gguf])
    await shelf.close()
    assert not answerers(os.getpid(), LLAMA)


def test_what_was_made_of_a_model_goes_with_it(service, client, tuned):
    texts(client, tuned[1])
    there = set((service.data_dir / "gguf").glob("adapter-*"))
    client.models.delete(tuned[1])
    assert len(there - set((service.data_dir / "gguf").glob("adapter-*"))) == 1
    assert texts(client, tuned[0])


def test_no_process_is_left_when_the_service_is_stopped_or_killed(service, client):
    for end in (service.stop, service.kill):
        texts(client, BASE)
        pids = answerers(service.pid, LLAMA)
        assert pids
        end()
        until(lambda pids=pids: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        service.start()
