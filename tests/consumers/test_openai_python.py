"""The `openai` package for Python: every option of `/chat/completions` that changes an answer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel
from support.service import RunningService

pytestmark = pytest.mark.slow

MODEL = "smol"
QUESTION = [{"role": "user", "content": "Which team answers this customer? My parcel never came."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "route",
        "description": "Sends a customer to a team.",
        "parameters": {
            "type": "object",
            "properties": {"team": {"type": "string", "enum": ["billing", "shipping"]}},
            "required": ["team"],
            "additionalProperties": False,
        },
    },
}


class Route(BaseModel):
    """Where a message goes."""

    team: Literal["billing", "shipping"]
    urgent: bool


def ask(client: openai.OpenAI, **options: Any) -> Any:
    asked = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    return client.chat.completions.create(**(asked | options))  # type: ignore[call-overload]


def text(client: openai.OpenAI, **options: Any) -> str:
    return ask(client, **options).choices[0].message.content


def test_the_likeliest_answer_is_always_the_same(client):
    assert text(client) == text(client)


def test_a_stream_has_the_same_answer_and_the_usage(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    whole = ask(client)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == (
        whole.choices[0].message.content
    )
    assert chunks[-1].usage == whole.usage
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {MODEL}


def test_an_answer_fits_a_schema(client):
    parsed = client.chat.completions.parse(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=60, response_format=Route
    )
    assert parsed.choices[0].message.parsed.team in ("billing", "shipping")


def test_an_answer_is_a_json_object(client):
    asked = [{"role": "user", "content": 'Answer with a JSON object that has the key "city": capital of France?'}]
    answer = ask(client, messages=asked, response_format={"type": "json_object"}, max_tokens=200)
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "route"}}])
def test_a_tool_that_must_be_called_is_called(choice, client):
    answer = ask(client, tools=[TOOL], tool_choice=choice, max_tokens=300)
    calls = answer.choices[0].message.tool_calls
    assert calls
    for call in calls:
        assert (call.type, call.function.name) == ("function", "route")
        assert json.loads(call.function.arguments)["team"] in ("billing", "shipping")
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")


def test_one_tool_is_called_where_several_are_not_wanted(client):
    answer = ask(client, tools=[TOOL], tool_choice="required", parallel_tool_calls=False, max_tokens=60)
    assert len(answer.choices[0].message.tool_calls) == 1


def test_a_tool_that_may_not_be_called_is_not(client):
    assert ask(client, tools=[TOOL], tool_choice="none").choices[0].message.tool_calls is None


def test_log_probabilities_are_those_of_the_tokens(client):
    choice = ask(client, logprobs=True, top_logprobs=3, max_tokens=5).choices[0]
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens).strip().startswith(choice.message.content.strip())
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)  # the likeliest was taken
        assert token.logprob <= 0


def test_several_answers_are_given_and_a_seed_repeats_them(client):
    def answers(seed: int) -> list[str]:
        asked = ask(client, n=3, temperature=1.5, seed=seed, max_tokens=12)
        return [choice.message.content for choice in asked.choices]

    first = answers(7)
    assert len(set(first)) > 1
    assert answers(7) == first
    assert answers(8) != first


def test_an_answer_ends_before_a_stop_text(client):
    whole = text(client)
    word = whole.split()[3]
    stopped = ask(client, stop=[word]).choices[0]
    assert whole.startswith(stopped.message.content)
    assert word not in stopped.message.content
    assert stopped.finish_reason == "stop"


def test_a_token_with_a_bias_comes_always(client):
    # which text it stands for isn't part of the API
    once = text(client, logit_bias={"2000": 100}, max_tokens=1)
    assert text(client, logit_bias={"2000": 100}, max_tokens=3).strip() == (once * 3).strip()
    assert not text(client).startswith(once)


@pytest.mark.parametrize("option", [{"frequency_penalty": 2}, {"presence_penalty": 2}])
def test_a_penalty_changes_what_repeats_itself(option, client):
    asked = [{"role": "user", "content": "Repeat the word yes twenty times."}]
    assert text(client, messages=asked, max_tokens=60) != text(client, messages=asked, max_tokens=60, **option)


def test_a_small_top_p_leaves_only_the_likeliest(client):
    assert text(client, temperature=1.5, top_p=0.0001) == text(client)


def test_many_clients_are_answered_at_once(client):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: text(client), range(8)))
    assert all(answers)


def test_an_unknown_option_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, extra_body={"top_z": 1})
    assert caught.value.param == "top_z"


def test_the_model_says_who_answers(client, service: RunningService):
    assert client.models.retrieve(MODEL).engine["name"] == "llamacpp"
