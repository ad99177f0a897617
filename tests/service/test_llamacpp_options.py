"""The options of the API that llama.cpp has, by the `openai` package."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from support.openai_jobs import openai_for
from support.service import running_service

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("xllamacpp", reason="needs the extra `llamacpp`")

from support.tiny_llama import HERMES, MERGES, TEMPLATE, make_tiny_llama, make_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# the answer begins with a whole character
ASKED = [{"role": "user", "content": "hi"}]
TEAM = {
    "type": "object",
    "properties": {"team": {"enum": ["mobile", "billing"]}, "urgent": {"type": "boolean"}},
    "required": ["team", "urgent"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "team", "schema": TEAM, "strict": True}}
ROUTE = {"type": "function", "function": {"name": "route", "parameters": TEAM}}
CLOSE = {"type": "function", "function": {"name": "close"}}
MODELS = ("own", "hermes")
# the form of Mistral's models
OTHER = (
    "{%- if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{%- for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }}[/INST]"
    "{%- elif message.tool_calls %}[TOOL_CALLS] [{% for call in message.tool_calls %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}{% endfor %}]'
    "{%- else %}{{ message.content }}{% endif %}{% endfor %}"
)


def token(text: str) -> str:
    """The number of a token."""
    return str(make_tokenizer(merges=MERGES).convert_tokens_to_ids(text))


# what ends JSON, by its tokens: else a model of random weights writes on and on
ENDING = {token("}"): 20, token('"'): 15}


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[OpenAI]:
    folder = tmp_path_factory.mktemp("service")
    templates = {"own": TEMPLATE, "hermes": HERMES, "other": OTHER}
    bases = {name: make_tokenizer(template, merges=MERGES) for name, template in templates.items()}
    models = {
        name: str(make_tiny_llama(folder / name, tokenizer=tokenizer, context_length=2048))
        for name, tokenizer in bases.items()
    }
    with running_service(folder / "data", models=models) as service, openai_for(service) as made:
        yield made


def ask(client: Any, model: str = "own", **options):
    """Ask for the likeliest answer, unless the options say something else."""
    asked = {"model": model, "messages": ASKED, "temperature": 0, "max_tokens": 400} | options
    return client.chat.completions.create(**asked)


def streamed(client: Any, model: str = "own", **options) -> tuple[str, list[Any], list[Any], str]:
    """The text, the calls, the probabilities and the finish reason of a streamed answer."""
    choices = [chunk.choices[0] for chunk in ask(client, model, stream=True, **options)]
    text = "".join(choice.delta.content or "" for choice in choices)
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    shown = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    return text, calls, shown, choices[-1].finish_reason


def test_an_answer_fits_the_schema_that_it_has_to_fit(client):
    for seed in range(3):
        reply = ask(client, response_format=FORMAT, temperature=1.5, seed=seed)
        assert set(json.loads(reply.choices[0].message.content)) == {"team", "urgent"}
        text, *_ = streamed(client, response_format=FORMAT, temperature=1.5, seed=seed)
        assert text == reply.choices[0].message.content


def test_an_answer_is_a_json_object_if_that_is_asked_for(client):
    reply = ask(client, response_format={"type": "json_object"}, temperature=1, seed=2, logit_bias=ENDING)
    assert isinstance(json.loads(reply.choices[0].message.content), dict)
    assert reply.choices[0].finish_reason == "stop"


def test_an_answer_that_is_cut_short_says_so(client):
    choice = ask(client, response_format=FORMAT, max_tokens=4).choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.content.startswith("{")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_has_to_be_called_is_called(client, model, stream):
    named = {"type": "function", "function": {"name": "route"}}
    for choice in (named, "required"):
        tools = [CLOSE, ROUTE] if choice == named else [ROUTE]
        options = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False}
        if stream:
            _, calls, _, reason = streamed(client, model, **options)
            assert [call.index for call in calls] == [0]
        else:
            answer = ask(client, model, **options).choices[0]
            calls, reason = answer.message.tool_calls, answer.finish_reason
            assert answer.message.content is None
        (call,) = calls
        assert call.id
        assert call.function.name == "route"
        assert set(json.loads(call.function.arguments)) == {"team", "urgent"}
        assert reason == "tool_calls"


@pytest.mark.parametrize("model", MODELS)
def test_tools_that_may_not_be_called_are_not_shown_to_the_model(client, model):
    without = ask(client, model, max_tokens=3)
    none = ask(client, model, max_tokens=3, tools=[ROUTE], tool_choice="none")
    auto = ask(client, model, max_tokens=3, tools=[ROUTE], tool_choice="auto")
    assert none.choices[0].message.content == without.choices[0].message.content
    assert none.usage == without.usage
    assert auto.usage.prompt_tokens > without.usage.prompt_tokens


@pytest.mark.parametrize("options", [{}, {"parallel_tool_calls": False}, {"logprobs": True}])
def test_text_that_a_model_with_another_form_of_calls_writes_is_an_answer(client, options):
    # a model of random weights writes what isn't even text
    choice = ask(client, "other", tools=[ROUTE], max_tokens=20, **options).choices[0]
    assert choice.message.content
    assert not choice.message.tool_calls
    assert streamed(client, "other", tools=[ROUTE], max_tokens=20, **options)[0] == choice.message.content


@pytest.mark.parametrize("model", MODELS)
def test_a_conversation_with_calls_is_read(client, model):
    call = {"id": "c1", "type": "function", "function": {"name": "route", "arguments": '{"team": "mobile"}'}}
    messages = [
        {"role": "developer", "content": "Route."},
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    assert ask(client, model, messages=messages, tools=[ROUTE], max_tokens=3).choices


@pytest.mark.parametrize("top", [None, 0, 3])
def test_the_probabilities_of_tokens_are_shown(client, top):
    options = {"logprobs": True, "max_tokens": 5} | ({} if top is None else {"top_logprobs": top})
    choice = ask(client, **options).choices[0]
    tokens = choice.logprobs.content
    assert b"".join(bytes(each.bytes) for each in tokens).decode(errors="replace") == choice.message.content
    assert all(len(each.top_logprobs) == (top or 0) for each in tokens)
    assert all(each.logprob < 0 for each in tokens)
    _, _, shown, _ = streamed(client, **options)
    assert [each.bytes for each in shown] == [each.bytes for each in tokens]
    likely = tokens[0]
    if top:
        assert likely.top_logprobs[0].logprob == likely.logprob
        assert sum(math.exp(other.logprob) for other in likely.top_logprobs) < 1


def test_the_probabilities_of_a_continued_text_are_shown(client):
    choice = client.completions.create(
        model="own", prompt="the hello", max_tokens=4, logprobs=2, temperature=0
    ).choices[0]
    shown = choice.logprobs
    assert len(shown.tokens) == len(shown.token_logprobs) == len(shown.top_logprobs) == len(shown.text_offset)
    assert all(len(likely) == 2 for likely in shown.top_logprobs)
    assert shown.text_offset[0] == 0


def test_a_token_may_be_forbidden_or_forced(client):
    first = ask(client, logprobs=True, top_logprobs=1, max_tokens=1).choices[0].logprobs.content[0]
    tokens = make_tokenizer(merges=MERGES)
    assert ask(client, logit_bias={token("7"): 100}, max_tokens=3).choices[0].message.content == "777"
    likeliest = next(number for number in range(len(tokens)) if tokens.decode([number]).encode() == bytes(first.bytes))
    banned = ask(client, logit_bias={str(likeliest): -100}, logprobs=True, max_tokens=1).choices[0].logprobs.content[0]
    assert banned.bytes != first.bytes


def test_penalties_keep_a_model_from_repeating_itself(client):
    forced = {token("7"): 8}
    assert ask(client, logit_bias=forced, max_tokens=40).choices[0].message.content.count("7") > 30
    for option in ("frequency_penalty", "presence_penalty"):
        said = ask(client, logit_bias=forced, max_tokens=40, **{option: 2.0}).choices[0].message.content
        assert said.count("7") < 40, option


def test_an_answer_stops_where_it_is_told_to(client):
    whole = ask(client, logit_bias={"24": 100}, max_tokens=9).choices[0].message.content
    choice = ask(client, logit_bias={"24": 100}, max_tokens=9, stop=whole[3:6]).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("", "stop")


def test_all_tokens_are_drawn_by_the_model_s_own_probabilities(client):
    tokens = ask(client, logprobs=True, top_logprobs=20, max_tokens=1).choices[0].logprobs.content[0].top_logprobs
    drawn = [
        token
        for reply in (ask(client, n=16, max_tokens=1, temperature=1, logprobs=True, seed=seed) for seed in range(20))
        for token in (choice.logprobs.content[0] for choice in reply.choices if choice.logprobs.content)
    ]
    rare = [token for token in drawn if token.logprob < tokens[-1].logprob]
    assert rare, "only the likeliest 20 tokens were ever drawn"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"7": 101}}, "logit_bias"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"response_format": FORMAT | {"json_schema": {"name": "x", "schema": {"type": 7}}}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [ROUTE], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"top_k": 5}, "top_k"),
    ],
)
def test_an_option_has_its_limits(client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body={"model": "own", "messages": ASKED} | options, cast_to=object)
    assert caught.value.param.startswith(param)


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_llama_cpp_cannot_hold_an_answer_to_is_refused(client, stream):
    never = TEAM["properties"] | {"team": {"type": "string", "not": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "never", "schema": TEAM | {"properties": never}}}
    with pytest.raises(openai.APIError, match="schema"):
        list(ask(client, response_format=wanted, stream=stream, logit_bias={token('"'): 60}))
