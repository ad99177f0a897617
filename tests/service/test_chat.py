"""Asking models: what the API lets one ask, and what this service says it can't do."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from support.answerers import answerers
from support.datasets import to_bytes
from support.openai_jobs import submit, wait_for
from support.service import until

QUESTION = [{"role": "user", "content": "Ticket 9: there is trouble with my password."}]


@pytest.fixture(scope="module")
def model(client, training_file):
    return wait_for(client, submit(client, training_file, seed=2).id).fine_tuned_model


def ask(client, name: str, **options):
    """Ask for the most likely answer, unless the options say something else."""
    return client.chat.completions.create(**{"model": name, "messages": QUESTION, "temperature": 0} | options)


def test_an_answer_may_be_cut_short(client, model):
    names = ("max_tokens", "max_completion_tokens")
    for limits in ({names[0]: 3}, {names[1]: 3}, {names[0]: 3, names[1]: 5}, {names[0]: 5, names[1]: 3}):
        choice = ask(client, model, **limits).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("acc", "length")


def test_an_answer_stops_where_it_is_told_to(client, model):
    for stop in ("nts", ["zzz", "nts"]):
        assert ask(client, model, stop=stop).choices[0].message.content == "accou"


def answers(client, model, **options) -> list[str]:
    """Several short answers to a question that the model wasn't trained for, drawn as the API does by default."""
    asked = {"model": model, "messages": [{"role": "user", "content": "Hm."}], "n": 8, "max_tokens": 12}
    return [choice.message.content for choice in client.chat.completions.create(**asked | options).choices]


def test_several_answers_may_be_asked_for_and_a_seed_repeats_them(client, model):
    first, again, other = (answers(client, model, seed=seed) for seed in (5, 5, -(2**63)))
    assert len(first) == 8
    assert len(set(first)) > 1
    assert first == again
    assert first != other


def test_without_a_seed_no_answer_is_the_same_each_time(client, model):
    calls = [answers(client, model) for _ in range(5)]
    assert all(len({call[number] for call in calls}) > 1 for number in range(8))


def test_answers_are_alike_where_nothing_but_the_most_likely_is_drawn(client, model):
    (likely,) = set(answers(client, model, temperature=0))
    assert set(answers(client, model, top_p=0)) == set(answers(client, model, temperature=1e-300)) == {likely}
    assert set(answers(client, model, temperature=None, top_p=None)) != {likely}


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_to_one_prompt_count_it_once(client, model, stream):
    def usage(**options):
        if not stream:
            return ask(client, model, **options).usage
        return list(ask(client, model, stream=True, stream_options={"include_usage": True}, **options))[-1].usage

    one, three = usage(), usage(n=3)
    assert three.prompt_tokens == one.prompt_tokens
    assert three.completion_tokens == 3 * one.completion_tokens
    assert three.total_tokens == three.prompt_tokens + three.completion_tokens


def test_each_of_several_prompts_counts_once(client, model):
    usage = client.completions.create(model=model, prompt=["abc", "defgh"], n=2, max_tokens=2).usage
    assert usage.prompt_tokens == 8


def test_a_prompt_is_continued(client, model):
    likely = {"model": model, "prompt": "trouble", "max_tokens": 4, "temperature": 0}
    reply = client.completions.create(**likely)
    assert reply.object == "text_completion"
    assert reply.usage.completion_tokens <= 4
    two = client.completions.create(model=model, prompt=["a", "b"], max_tokens=2)
    assert [choice.index for choice in two.choices] == [0, 1]
    chunks = list(client.completions.create(**likely, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == reply.choices[0].text


def test_the_base_model_answers_too_and_knows_nothing(client, model):
    assert ask(client, "gpt-4o-mini", max_tokens=10).choices[0].message.content != "accounts"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(client, stream):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, "gpt-5", stream=stream)
    assert caught.value.code == "model_not_found"


@pytest.mark.slow
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


def test_a_model_whose_process_dies_is_started_again(service, client, model):
    assert ask(client, model).choices[0].message.content == "accounts"
    children = until(lambda: answerers(service.pid))
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert ask(client, model).choices[0].message.content == "accounts"
