"""From a row to tokens: what is learned is the answers whose weight isn't 0, to the end of the turn, exactly."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from support.tiny_llama import TEMPLATE, make_tokenizer

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.tokens import UNLEARNED, Encoder

TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Find an order.", "parameters": {}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"order": 7}'}}
KNOWS_TOOLS = (
    "{% if tools %}TOOLS{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}CALL{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# shows only the last answer's thoughts, as some models' templates do
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last or m.role != 'assistant' else m.content.split('/')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE


def encoder(template: str | None = TEMPLATE, limit: int = 4096) -> Encoder:
    tokenizer = make_tokenizer(template)
    return Encoder(tokenizer, [tokenizer.eos_token_id], limit)


def says(role, content, **more):
    return {"role": role, "content": content, **more}


def shown(encoder, example):
    """The example's text, what is learned in it in brackets."""
    text, inside = "", False
    for token, label in zip(example.ids, example.labels, strict=True):
        assert label in (UNLEARNED, token)
        if (label != UNLEARNED) != inside:
            inside = not inside
            text += "[" if inside else "]"
        text += encoder.tokenizer.decode([token])
    return text + ("]" if inside else "")


def learned(row, template: str | None = TEMPLATE, limit: int = 4096):
    made = encoder(template, limit)
    return [shown(made, example) for example in made.supervised(row)]


def test_the_answer_is_learned_and_the_end_of_its_turn():
    assert learned({"messages": [says("user", "hi"), says("assistant", "yo")]}) == [
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[yo<|im_end|>]\n"
    ]


def test_every_answer_is_learned_but_those_of_weight_0():
    row = {
        "messages": [
            says("user", "1"),
            says("assistant", "a", weight=0),
            says("user", "2"),
            says("assistant", "b", weight=1),
            says("user", "3"),
            says("assistant", "c"),
        ]
    }
    (text,) = learned(row)
    assert [part.partition("]")[0] for part in text.split("[")[1:]] == ["b<|im_end|>", "c<|im_end|>"]
    assert "weight" not in text


def test_a_row_whose_answers_all_have_weight_0_teaches_nothing():
    assert learned({"messages": [says("user", "1"), says("assistant", "a", weight=0)]}) == []


def test_what_is_learned_is_what_the_prompt_of_later_asks_for():
    made = encoder()
    messages = [says("system", "s"), says("user", "q"), says("assistant", "answer")]
    (example,) = made.supervised({"messages": messages})
    prompt = made.prompt(messages[:-1])
    assert list(example.ids[: len(prompt)]) == prompt
    assert set(example.labels[: len(prompt)]) == {UNLEARNED}
    assert example.labels[len(prompt)] == example.ids[len(prompt)]


def test_a_template_that_shows_earlier_answers_otherwise_makes_an_example_of_each():
    row = {"messages": [says("user", "1"), says("assistant", "think/a"), says("user", "2"), says("assistant", "hm/b")]}
    asked = "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n"
    assert learned(row, FORGETS) == [
        f"{asked}[think/a<|im_end|>]\n",
        f"{asked}a<|im_end|>\n<|im_start|>user\n2<|im_end|>\n<|im_start|>assistant\n[hm/b<|im_end|>]\n",
    ]


def test_a_template_that_knows_tools_gets_them_with_arguments_as_objects():
    row = {
        "messages": [says("user", "?"), {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        "tools": TOOLS,
    }
    (text,) = learned(row, KNOWS_TOOLS)
    assert text.startswith("TOOLS[")
    assert '[CALLlook_up{"order": 7}<|im_end|>]' in text


def test_a_template_that_knows_no_tools_has_them_written_out_and_calls_can_be_read_back():
    from tuneway_service.trainers.conversation import split_tool_calls

    row = {
        "messages": [says("user", "?"), {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        "tools": TOOLS,
    }
    (text,) = learned(row)
    assert '{"name": "look_up", "description": "Find an order."' in text
    answer = text.split("[")[-1].split("<|im_end|>")[0]
    assert split_tool_calls(answer) == ("", [{"name": "look_up", "arguments": '{"order": 7}'}])


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', [{"name": "f", "arguments": '{"a": 1}'}]),
        ('<tool_call>f {"a": 1}</tool_call>', [{"name": "f", "arguments": '{"a": 1}'}]),
        ("<tool_call>{broken</tool_call>", []),
        ('<tool_call>{"arguments": {}}</tool_call>', []),
    ],
)
def test_calls_are_read_in_both_spellings(text, calls):
    from tuneway_service.trainers.conversation import split_tool_calls

    assert split_tool_calls(text) == ("" if calls else text, calls)


def test_prompt_and_completion_learn_the_completion_and_an_end():
    assert learned({"prompt": "1+1=", "completion": "2"}) == ["1+1=[2<|im_end|>]"]


def test_a_model_without_a_chat_template_gets_a_plain_one():
    row = {"messages": [says("user", "hi"), says("assistant", "yo")]}
    assert learned(row, None) == ["user: hi\nassistant: [yo<|im_end|>]"]


def test_what_is_too_long_loses_its_end_and_nothing_is_left_to_learn_of_a_row_without_its_answer():
    row = {"messages": [says("user", "hi"), says("assistant", "a long answer")]}
    (whole,) = learned(row)
    size = len("a long answer") + 1  # and the end of the turn
    prompt = len(encoder().prompt(row["messages"][:1]))
    assert learned(row, limit=prompt + 6) == [whole[: whole.index("[") + 7] + "]"]
    for limit, lost in ((4096, 0), (prompt + 6, size - 6), (prompt, size), (5, size)):
        (example,) = encoder(limit=limit).supervised(row)
        assert (example.learned, example.lost) == (size - lost, lost)


def test_a_preference_row_makes_two_answers_to_one_prompt():
    made = encoder()
    row = {
        "input": {"messages": [says("user", "?")]},
        "preferred_output": [says("assistant", "good")],
        "non_preferred_output": [says("assistant", "bad")],
    }
    assert [shown(made, example) for example in made.preference(row)] == [
        f"<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n[{word}<|im_end|>]\n" for word in ("good", "bad")
    ]


def test_content_in_parts_is_their_text_and_an_image_is_refused():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert "\nab<" in learned({"messages": [says("user", parts), says("assistant", "c")]})[0]
    with pytest.raises(InvalidInput, match="image_url"):
        learned({"messages": [says("user", [{"type": "image_url", "image_url": {}}]), says("assistant", "c")]})


def test_what_the_template_refuses_is_told_in_its_words():
    with pytest.raises(InvalidInput, match="no system"):
        learned({"messages": [says("system", "s"), says("user", "?"), says("assistant", "c")]}, STRICT)


def test_a_conversation_may_begin_with_the_answer():
    (text,) = learned({"messages": [says("assistant", "hello")]})
    assert "[hello<|im_end|>]" in text
