"""What may be asked: every legal form is taken, and what can't be heeded is refused by its name."""

from __future__ import annotations

from typing import get_args, get_type_hints

import openai
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.completion_create_params import CompletionCreateParamsBase as PromptParams

from tuneway_service.chat_bodies import NEUTRAL, ChatCompletion, Completion
from tuneway_service.chat_messages import FIELDS

HELLO = [{"role": "user", "content": "Hello"}]
TEXT = {"type": "text", "text": "Hello"}
REFUSED = {"type": "refusal", "refusal": "No."}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "file-1"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "route", "arguments": "{}"}}
OTHER_CALL = CALL | {"id": "c2"}
TOOL = {"type": "function", "function": {"name": "route", "parameters": {"type": "object"}}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWERED = {"role": "tool", "tool_call_id": "c1", "content": "done"}


def create(client, **options):
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 3} | options)


def refused(client, param, **options) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, **options)
    assert caught.value.param == param
    assert f"'{param}'" in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Be kind."}, *HELLO],
        [{"role": "developer", "content": [TEXT], "name": "me"}, *HELLO],
        [{"role": "user", "content": [TEXT, TEXT], "name": "ann"}],
        [{"role": "user", "content": [TEXT | {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}]}],
        [{"role": "user", "content": ""}],
        [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO],
        [*HELLO, {"role": "assistant", "content": [TEXT, REFUSED]}, *HELLO],
        [*HELLO, {"role": "assistant", "content": None, "refusal": "No."}, *HELLO],
        [*HELLO, CALLING, ANSWERED],
        [*HELLO, {"role": "assistant", "tool_calls": [CALL, OTHER_CALL]}, ANSWERED | {"tool_call_id": "c2"}, ANSWERED],
        [*HELLO, CALLING | {"content": "Let me see."}, ANSWERED | {"content": [TEXT], "name": "route"}, *HELLO],
        [*HELLO, {"role": "assistant", "content": None, "function_call": CALL["function"]}, *HELLO],
        [{"role": "function", "name": "route", "content": None}],
        [{"role": "function", "name": "route", "content": "done"}, *HELLO],
    ],
)
def test_a_legal_conversation_is_answered(client, messages):
    assert create(client, messages=messages, tools=[TOOL]).choices[0].message


def test_an_answer_may_be_sent_back_as_it_came(client):
    answer = create(client).choices[0].message
    again = [*HELLO, answer, *HELLO]
    assert create(client, messages=again).choices
    assert create(client, messages=[*HELLO, answer.model_dump() | {"annotations": [], "audio": None}, *HELLO]).choices


def test_parts_of_text_are_read_as_one_text(client):
    whole = create(client, messages=[{"role": "user", "content": "HelloHello"}], temperature=0)
    parts = create(client, messages=[{"role": "user", "content": [TEXT, TEXT]}], temperature=0)
    assert parts.choices[0].message.content == whole.choices[0].message.content
    assert parts.usage == whole.usage


@pytest.mark.parametrize(
    "part", [IMAGE, AUDIO, FILE, {"type": "smell"}, {"type": "text "}, {"text": "no type"}, "text", None]
)
@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_a_part_that_no_model_here_reads_is_refused(client, part, role):
    messages = [*HELLO, {"role": role, "content": [TEXT, part]}]
    refused(client, "messages[1].content[1]", messages=messages)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": None}, "content"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": 7}, "content"),
        ({"role": "user", "content": TEXT}, "content"),
        ({"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "content[0].text"),
        ({"role": "user", "content": [TEXT | {"detail": "high"}]}, "content[0].detail"),
        ({"role": "user", "content": [REFUSED]}, "content[0]"),
        ({"role": "user", "content": "Hello", "tool_calls": [CALL]}, "tool_calls"),
        ({"role": "user", "content": "Hello", "colour": "red"}, "colour"),
        ({"role": "user", "content": "Hello", "name": 7}, "name"),
        ({"role": "wizard", "content": "Hello"}, "role"),
        ({"content": "Hello"}, "role"),
        ({"role": "system", "content": None}, "content"),
        ({"role": "assistant", "content": None}, "content"),
        ({"role": "assistant", "content": None, "tool_calls": None}, "content"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "tool_calls"),
        ({"role": "assistant", "content": "Hello", "audio": {"id": "audio_1"}}, "audio"),
        ({"role": "assistant", "tool_calls": [CALL | {"id": None}]}, "tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]}, "tool_calls[0].type"),
        ({"role": "assistant", "tool_calls": [{"id": "c1", "type": "function"}]}, "tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "route", "arguments": {}}}]},
            "tool_calls[0].function.arguments",
        ),
        ({"role": "tool", "content": "done"}, "tool_call_id"),
        ({"role": "tool", "content": "done", "tool_call_id": "c1"}, "tool_call_id"),
        ({"role": "tool", "content": None, "tool_call_id": "c1"}, "content"),
        ({"role": "function", "content": "done"}, "name"),
    ],
)
def test_a_malformed_message_is_refused_with_the_field_named(client, message, param):
    refused(client, f"messages[1].{param}", messages=[*HELLO, message])


@pytest.mark.parametrize("messages", [None, [], "Hello", {"role": "user"}])
def test_there_must_be_messages(client, messages):
    refused(client, "messages", messages=messages)


@pytest.mark.parametrize("message", [None, "Hello", ["Hello"]])
def test_a_message_must_be_an_object(client, message):
    refused(client, "messages[0]", messages=[message])


def test_calls_must_be_answered_and_answers_must_have_been_asked_for(client):
    both = {"role": "assistant", "tool_calls": [CALL, OTHER_CALL]}
    for unanswered in ([*HELLO, both], [*HELLO, both, ANSWERED], [*HELLO, both, ANSWERED, *HELLO]):
        refused(client, "messages[1].tool_calls", messages=unanswered)
    for unasked in ([*HELLO, ANSWERED], [*HELLO, CALLING, ANSWERED, *HELLO, ANSWERED]):
        refused(client, f"messages[{len(unasked) - 1}].tool_call_id", messages=unasked)


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        (None, ""),
        ({}, ".type"),
        ({"type": "function"}, ".function"),
        ({"type": "function", "function": None}, ".function"),
        ({"type": "function", "function": {}}, ".function.name"),
        ({"type": "function", "function": {"name": "a b"}}, ".function.name"),
        ({"type": "function", "function": {"name": "route", "parameters": "none"}}, ".function.parameters"),
        ({"type": "function", "function": {"name": "route", "strict": True}}, ".function.strict"),
        ({"type": "function", "function": {"name": "route", "colour": "red"}}, ".function.colour"),
        ({"type": "custom", "custom": {"name": "route"}}, ".type"),
        ({"type": "web_search"}, ".type"),
    ],
)
def test_a_malformed_tool_is_refused_with_the_field_named(client, tool, param):
    refused(client, f"tools[1]{param}", tools=[TOOL, tool])


UNSUPPORTED = {
    "audio": {"voice": "alloy", "format": "mp3"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "route"},
    "functions": [{"name": "route"}],
    "logit_bias": {"7": 100},
    "logprobs": True,
    "max_completion_tokens": 0,
    "max_tokens": 0,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 17,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "Hello"},
    "presence_penalty": -1,
    "prompt_cache_key": 7,
    "prompt_cache_options": 7,
    "prompt_cache_retention": "7d",
    "reasoning_effort": "high",
    "response_format": {"type": "json_object"},
    "safety_identifier": 7,
    "seed": 2**63,
    "service_tier": "flex",
    "stop": ["a", "b", "c", "d", "e"],
    "store": True,
    "stream": "yes",
    "stream_options": {"include_usage": True},  # of an answer that isn't streamed
    "temperature": 3,
    "tool_choice": "required",
    "tools": [],
    "top_logprobs": 3,
    "top_p": 1.1,
    "user": 7,
    "verbosity": "high",
    "web_search_options": {},
}


@pytest.mark.parametrize(("option", "value"), UNSUPPORTED.items())
def test_an_option_that_cannot_be_heeded_is_refused(client, option, value):
    body = {"model": "gpt-4o-mini", "messages": HELLO, option: value}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.param == option


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"top_k": 5}, "top_k"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": "2"}, "n"),
        ({"seed": True}, "seed"),
        ({"logprobs": 0}, "logprobs"),
        ({"top_logprobs": False}, "top_logprobs"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", 7]}, "stop"),
        ({"stop": 7}, "stop"),
        ({"model": ""}, "model"),
        ({"tool_choice": "auto"}, "tool_choice"),  # of no tools
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"tools": [TOOL], "tool_choice": "none"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "route"}}}, "tool_choice"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"stream": True, "stream_options": {"colour": True}}, "stream_options.colour"),
    ],
)
def test_an_option_has_its_limits(client, options, param):
    body = {"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 3} | options
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.param == param


@pytest.mark.parametrize(("option", "values"), NEUTRAL.items())
def test_an_option_may_have_the_value_that_changes_nothing(client, option, values):
    chat = option in ChatCompletion.neutral()
    asked = {"messages": HELLO} if chat else {"prompt": "Hello"}
    for value in values:
        body = {"model": "gpt-4o-mini", "max_tokens": 3, option: value} | asked
        reply = client.post("/chat/completions" if chat else "/completions", body=body, cast_to=object)
        assert reply["choices"]


def test_an_option_that_changes_no_answer_is_taken(client):
    assert create(client, user="ann", safety_identifier="ann", prompt_cache_key="k").choices
    assert create(client, prompt_cache_options={"mode": "implicit", "ttl": "30m"}).choices
    assert create(client, temperature=None, top_p=None, n=None, seed=None, stop=None, tools=None).choices
    assert create(client, tools=[TOOL], tool_choice="auto", parallel_tool_calls=True).choices
    assert create(client, tool_choice="none").choices
    assert create(client, temperature=1, top_p=1, stop=[]).choices
    assert list(create(client, stream=True, stream_options={"include_usage": None, "include_obfuscation": False}))


def test_every_option_of_the_openai_package_is_heeded_or_refused_by_name():
    for params, body in ((CompletionCreateParamsBase, ChatCompletion), (PromptParams, Completion)):
        options = get_type_hints(params).keys() - {"messages", "model", "prompt"}
        assert options <= body.model_fields.keys() | body.neutral()
    assert UNSUPPORTED.keys() >= get_type_hints(CompletionCreateParamsBase).keys() - {"messages", "model"}


def test_every_role_of_the_openai_package_is_known():
    roles = get_args(ChatCompletion.model_fields["messages"].annotation)[0].model_fields["role"].annotation
    assert set(get_args(roles)) == set(FIELDS)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 1}, "logprobs"),
        ({"messages": HELLO}, "messages"),
        ({"top_p": -0.1}, "top_p"),
    ],
)
def test_a_prompt_and_its_options_have_their_limits(client, options, param):
    body = {"model": "gpt-4o-mini", "prompt": "Hello"} | options
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/completions", body=body, cast_to=object)
    assert caught.value.param == param


@pytest.mark.parametrize("stream", [False, True])
def test_a_stream_is_refused_like_any_other_answer(client, stream):
    refused(client, "messages[0].role", messages=[{"role": "wizard", "content": 7}], stream=stream)
