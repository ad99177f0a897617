"""Asking models: what the API lets one ask, and what this service says it can't do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from support.datasets import to_bytes
from support.openai_jobs import submit, wait_for
from support.service import until

QUESTION = [{"role": "user", "content": "Ticket 9: there is trouble with my password."}]


@pytest.fixture(scope="module")
def model(client, training_file):
    return wait_for(client, submit(client, training_file, seed=2).id).fine_tuned_model


def ask(client, name: str, **options):
    return client.chat.completions.create(**{"model": name, "messages": QUESTION} | options)


def test_an_answer_may_be_cut_short(client, model):
    for name in ("max_tokens", "max_completion_tokens"):
        choice = ask(client, model, **{name: 3}).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("acc", "length")


def test_an_answer_stops_where_it_is_told_to(client, model):
    for stop in ("nts", ["zzz", "nts"]):
        assert ask(client, model, stop=stop).choices[0].message.content == "accou"


def test_several_answers_may_be_asked_for_and_a_seed_repeats_them(client, model):
    hot = {"temperature": 2.0, "seed": 5, "n": 3, "max_tokens": 12}
    first, again = ([choice.message.content for choice in ask(client, model, **hot).choices] for _ in range(2))
    assert len(first) == 3
    assert first == again


def test_a_prompt_is_continued(client, model):
    reply = client.completions.create(model=model, prompt="trouble", max_tokens=4)
    assert reply.object == "text_completion"
    assert reply.usage.completion_tokens <= 4
    two = client.completions.create(model=model, prompt=["a", "b"], max_tokens=2)
    assert [choice.index for choice in two.choices] == [0, 1]
    chunks = list(client.completions.create(model=model, prompt="trouble", max_tokens=4, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == reply.choices[0].text


def test_the_base_model_answers_too_and_knows_nothing(client, model):
    assert ask(client, "gpt-4o-mini", max_tokens=10).choices[0].message.content != "accounts"


@pytest.mark.parametrize(
    ("option", "value"),
    [("top_p", 0.5), ("logprobs", True), ("response_format", {"type": "json_object"}), ("frequency_penalty", 1)],
)
def test_what_cannot_be_done_is_refused_and_not_ignored(client, model, option, value):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, model, **{option: value})
    assert caught.value.param == option
    assert ask(client, model, top_p=1, frequency_penalty=0, user="me", max_tokens=1).choices


@pytest.mark.parametrize(
    ("options", "param"),
    [({"messages": []}, "messages"), ({"temperature": 3}, "temperature"), ({"n": 0}, "n"), ({"model": ""}, "model"),
     ({"max_tokens": 0}, "max_tokens"), ({"stop": ["a"] * 5}, "stop"),
     ({"messages": [{"role": "user"}, {"role": "wizard", "content": "x"}]}, "messages.1.role")],
)  # fmt: skip
def test_a_question_has_its_limits(client, model, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, model, **options)
    assert caught.value.param == param


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(client, stream):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, "gpt-5", stream=stream)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_makes_no_sense_is_refused(client, model, stream):
    with pytest.raises(openai.BadRequestError):
        ask(client, model, messages=[{"role": "wizard", "content": 7}], stream=stream)


def test_a_model_that_learned_to_call_a_tool_calls_it(client):
    call = {"id": "c1", "type": "function", "function": {"name": "route", "arguments": '{"team": "mobile"}'}}
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{number}: my phone"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ]
        }
        for number in range(20)
    ]
    file = client.files.create(file=("tools.jsonl", to_bytes(rows)), purpose="fine-tune")
    model = wait_for(client, submit(client, file.id).id).fine_tuned_model
    tools = [{"type": "function", "function": {"name": "route", "parameters": {"type": "object"}}}]
    asked = {"messages": [{"role": "user", "content": "77: my phone"}], "tools": tools}
    choice = ask(client, model, **asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls[0].function.model_dump() == call["function"]
    chunks = list(ask(client, model, stream=True, **asked))
    assert [c.choices[0].delta.tool_calls[0].function.name for c in chunks if c.choices[0].delta.tool_calls] == [
        "route"
    ]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_many_may_ask_at_once(client, model):
    def one(number: int):
        thing, team = (("phone", "mobile"), ("router", "network"))[number % 2]
        messages = [{"role": "user", "content": f"Ticket {number}: there is trouble with my {thing}."}]
        return ask(client, model, messages=messages, stream=False).choices[0].message.content == team

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(24)))


def test_somebody_who_hangs_up_takes_nothing_from_the_next(service, client, model):
    for _ in range(3):
        body = {"model": model, "messages": QUESTION, "stream": True, "temperature": 2.0, "seed": 1, "max_tokens": 4000}
        with httpx.stream("POST", f"{service.base_url}/chat/completions", json=body) as reply:
            next(reply.iter_raw())
        assert ask(client, model).choices[0].message.content == "accounts"


def test_a_model_whose_process_dies_is_started_again(service, client, model):
    assert ask(client, model).choices[0].message.content == "accounts"
    children = until(lambda: answerers(service.pid))
    import os
    import signal

    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert ask(client, model).choices[0].message.content == "accounts"


def answerers(pid: int) -> list[int]:
    from pathlib import Path

    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == pid and b"answerer" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
