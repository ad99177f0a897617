"""How messages become text, and which answers a row teaches."""

from __future__ import annotations

from typing import Any

import pytest

from tuneway.errors import InvalidInput
from tuneway_service.trainers.conversation import (
    RECENT,
    exchanges,
    message_text,
    preference,
    read_context,
    split_tool_calls,
)

USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "<b> \\"it\\""}'}}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "user", "content": "plain"}, "plain"),
        ({"role": "user", "content": ""}, ""),
        ({"role": "assistant", "content": None, "refusal": "No."}, "No."),
        ({"role": "user", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}, "a b"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "[image_url]"),
        (
            {"role": "assistant", "content": "Look:", "tool_calls": [CALL]},
            'Look:<tool_call>look {"at": "<b> \\"it\\""}</tool_call>',
        ),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "<tool_call>f {}</tool_call>"),
        ({"role": "assistant"}, ""),
        ({"role": "user", "content": 7}, ""),
    ],
)
def test_a_message_reads_as(message, text):
    assert message_text(message) == text


def test_tool_calls_are_read_back_as_they_were_written():
    other = {"function": {"name": "go", "arguments": "{}"}}
    text = message_text({"content": "Wait.", "tool_calls": [CALL, other]})
    rest, calls = split_tool_calls(text)
    assert rest == "Wait."
    assert calls == [CALL["function"], other["function"]]


def test_instructions_are_apart_from_the_turns_wherever_they_stand():
    messages = [
        {"role": "system", "content": "Be kind."},
        USER,
        {"role": "developer", "content": "Be short."},
    ]
    tools: list[dict[str, Any]] = [
        {"type": "function", "function": {"name": "look", "description": "Look it up"}},
        {"name": "old style"},
    ]
    context = read_context(messages, tools)
    assert context.instructions.splitlines() == ["look: Look it up", "old style: ", "Be kind.", "Be short."]
    assert [(turn.role, turn.text) for turn in context.turns] == [("user", "Hi")]


def test_each_answer_sees_what_came_before_it_and_nothing_after():
    row = {
        "messages": [
            USER,
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "More"},
            {"role": "assistant", "content": "two", "weight": 0},
            {"role": "assistant", "content": "three", "weight": 1},
        ]
    }
    found = [(exchange.answer, [turn.text for turn in exchange.context.turns]) for exchange in exchanges(row)]
    assert found == [("one", ["Hi"]), ("three", ["Hi", "one", "More", "two"])]


def test_a_conversation_of_thousands_is_read_in_one_go():
    row = {"messages": [USER, {"role": "assistant", "content": "Yes"}] * 10_000}
    found = list(exchanges(row))
    assert len(found) == 10_000
    assert max(len(exchange.context.turns) for exchange in found) == RECENT


def test_a_prompt_with_its_completion_is_one_exchange():
    (exchange,) = exchanges({"prompt": "a", "completion": "b"})
    assert exchange.answer == "b"
    assert exchange.context.turns[0].text == "a"


def test_a_preference_is_two_answers_to_the_same():
    chosen, other = preference(
        {
            "input": {"messages": [USER]},
            "preferred_output": [{"role": "assistant", "content": "good"}],
            "non_preferred_output": [{"role": "assistant", "content": "bad"}],
        }
    )
    assert (chosen.answer, other.answer) == ("good", "bad")
    assert chosen.context == other.context == read_context([USER])


@pytest.mark.parametrize("row", [{}, {"messages": []}, {"messages": "Hi"}, {"messages": [1]}, {"prompt": "alone"}])
def test_a_row_that_is_neither_chat_nor_completion_is_refused(row):
    with pytest.raises(InvalidInput, match="messages"):
        list(exchanges(row))


@pytest.mark.parametrize(
    "row",
    [{"messages": [USER]}, {"input": {"messages": [USER]}, "preferred_output": []}, {"input": {}}],
)
def test_a_row_that_is_no_preference_is_refused(row):
    with pytest.raises(InvalidInput):
        preference(row)
