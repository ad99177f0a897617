"""What is learned is what the model has to generate after its prompt, though tokens depend on what is before them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_llama import TEMPLATE, make_tokenizer
from support.word_tokenizers import KINDS, LLAMA_2, PHI_3, TEMPLATES, ZEPHYR, make_word_tokenizer
from transformers import LlamaConfig

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.chat import HfChat
from tuneway_service.trainers.hf.segments import Segments
from tuneway_service.trainers.hf.tokens import UNLEARNED, Encoder

TALK = [("user", "Hello there"), ("assistant", "Yes and"), ("user", "No?"), ("assistant", "maybe Yes"),
        ("user", "Yes"), ("assistant", "No")]  # fmt: skip
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>\n' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def talk(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def encoder_for(tokenizer, *stops: str) -> Encoder:
    ends = [tokenizer.convert_tokens_to_ids(stop) for stop in stops or (tokenizer.eos_token,)]
    return Encoder(tokenizer, ends, 4096)


def runs(example):
    """The learned tokens of an example: each run of them, with how many tokens stand before it."""
    found: list[tuple[int, list[int]]] = []
    for place, label in enumerate(example.labels):
        if label == UNLEARNED:
            continue
        if not found or found[-1][0] + len(found[-1][1]) != place:
            found.append((place, []))
        found[-1][1].append(label)
    return found


def asked_for(tokenizer, messages, stops):
    """What Transformers has a model generate for the last message: its prompt, and the tokens up to the turn's end."""
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template(messages)["input_ids"]
    assert whole[: len(prompt)] == prompt
    rest = whole[len(prompt) :]
    return prompt, rest[: next(place for place, token in enumerate(rest, 1) if token in stops)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_learned_tokens_are_those_that_the_model_has_to_generate_in_context(kind, name):
    tokenizer = make_word_tokenizer(kind, TEMPLATES[name])
    made = encoder_for(tokenizer, "</s>", "<|end|>")
    messages = talk(*TALK)
    (example,) = made.supervised({"messages": messages})
    wanted = [asked_for(tokenizer, messages[:number], made.stops) for number in (2, 4, 6)]
    assert runs(example) == [(len(prompt), answer) for prompt, answer in wanted]
    for prompt, answer in wanted:
        assert list(example.ids[: len(prompt) + len(answer)]) == prompt + answer
        assert made.prompt(messages[: 2 * wanted.index((prompt, answer)) + 1]) == prompt


@pytest.mark.parametrize("name", ["Zephyr", "Phi-3"])
def test_an_answer_that_begins_a_conversation_follows_the_header_of_its_turn(name):
    tokenizer = _cached("bpe-first", name)
    (example,) = encoder_for(tokenizer, "</s>", "<|end|>").supervised({"messages": talk(("assistant", "Yes"), *TALK)})
    start, answer = runs(example)[0]
    assert tokenizer.decode(list(example.ids[:start])) == "<|assistant|>\n"
    assert tokenizer.convert_ids_to_tokens(answer) == ["Yes", "<|end|>" if name == "Phi-3" else "</s>"]
    assert len(runs(example)) == 4


def test_an_answer_in_context_has_other_tokens_than_alone():
    tokenizer = make_word_tokenizer("bpe-first", ZEPHYR)
    (example,) = encoder_for(tokenizer).supervised({"messages": talk(("user", "Hello"), ("assistant", "Yes"))})
    ((_, answer),) = runs(example)
    assert tokenizer.convert_ids_to_tokens(answer) == ["Yes", "</s>"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("Yes", add_special_tokens=False)["input_ids"]) == ["\u2581Yes"]


@pytest.mark.parametrize("kind", KINDS)
def test_both_answers_of_a_preference_row_follow_the_prompt_of_later(kind):
    tokenizer = make_word_tokenizer(kind, ZEPHYR)
    made = encoder_for(tokenizer)
    asked = talk(("user", "Hello"))
    row = {"input": {"messages": asked}, "preferred_output": talk(("assistant", "Yes")),
           "non_preferred_output": talk(("assistant", "No"))}  # fmt: skip
    for example, word in zip(made.preference(row), ("Yes", "No"), strict=True):
        prompt, answer = asked_for(tokenizer, [*asked, {"role": "assistant", "content": word}], made.stops)
        assert runs(example) == [(len(prompt), answer)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_completion_follows_its_prompt_and_the_text_begins_once(kind):
    tokenizer = make_word_tokenizer(kind, ZEPHYR)
    (example,) = encoder_for(tokenizer).supervised({"prompt": "Hello:", "completion": "Yes"})
    assert tokenizer.convert_ids_to_tokens(list(example.ids))[-2:] == ["Yes", "</s>"]
    assert list(example.ids)[:-2] == tokenizer("Hello:")["input_ids"]
    assert list(example.ids).count(tokenizer.bos_token_id) == 1


class Recorded:
    """Stands for a model that generates tokens which are known."""

    def __init__(self, tokenizer, ids):
        self.tokenizer, self.stops, self.device = tokenizer, {tokenizer.eos_token_id}, torch.device("cpu")
        self.plain = SimpleNamespace(config=LlamaConfig(num_hidden_layers=1))
        self._ids = iter(ids)

    def logits(self, *_):
        scores = torch.zeros(1, 1, len(self.tokenizer))
        scores[0, 0, next(self._ids)] = 1
        return scores


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learned_is_given_back_to_the_letter(kind):
    tokenizer = make_word_tokenizer(kind, ZEPHYR)
    made = encoder_for(tokenizer)
    for completion in (" Yes", "Yes and", "", " \U0001f600\u4e16 é", "\n No"):
        (example,) = made.supervised({"prompt": "Hello é", "completion": completion})
        chat = HfChat(Recorded(tokenizer, runs(example)[0][1]), 100)
        assert "".join(chat.complete_prompt("Hello é")) == completion
    for answer in ("Yes and", "\U0001f600\U0001f600a", "\u4e16\n\u4e16", "a\n\U0001f600"):
        (example,) = made.supervised({"messages": talk(("user", "Hello"), ("assistant", answer))})
        chat = HfChat(Recorded(tokenizer, runs(example)[0][1]), 100)
        assert "".join(chat.complete(talk(("user", "Hello")))) == answer


def test_a_prompt_has_no_end_though_the_tokenizer_adds_one():
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_word_tokenizer("bpe-first", ZEPHYR)
    special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    made = encoder_for(tokenizer)
    assert tokenizer("Hello")["input_ids"][-1] == tokenizer.eos_token_id
    assert tokenizer.convert_ids_to_tokens(made.text("Hello")) == ["<s>", "\u2581Hello"]
    (example,) = made.supervised({"prompt": "Hello", "completion": " there"})
    assert tokenizer.convert_ids_to_tokens(list(example.ids)) == ["<s>", "\u2581Hello", "\u2581there", "</s>"]
    assert [tokenizer.convert_ids_to_tokens(answer) for _, answer in runs(example)] == [["\u2581there", "</s>"]]


def test_a_template_that_writes_the_first_token_itself_has_it_once():
    tokenizer = make_word_tokenizer("bpe-first", LLAMA_2)
    made = encoder_for(tokenizer)
    messages = talk(*TALK)
    (example,) = made.supervised({"messages": messages})
    for ids in (list(example.ids), made.prompt(messages[:1])):
        assert ids.count(tokenizer.bos_token_id) == 1


def test_what_a_template_writes_after_the_end_of_a_turn_is_not_learned():
    tokenizer = make_word_tokenizer("bpe-first", PHI_3)
    (example,) = encoder_for(tokenizer, "</s>", "<|end|>").supervised({"messages": talk(*TALK)})
    assert [tokenizer.convert_ids_to_tokens(answer[-1]) for _, answer in runs(example)] == ["<|end|>"] * 3
    assert example.ids[-1] == tokenizer.eos_token_id != example.labels[-1]


ODD_TEXT = st.text(alphabet="Yes No\n\u00e9\U0001f600.<", min_size=1, max_size=12)


@given(
    st.lists(st.tuples(ODD_TEXT, ODD_TEXT), min_size=1, max_size=3),
    st.sampled_from(KINDS),
    st.sampled_from([*TEMPLATES]),
)
def test_prompt_and_answer_together_are_the_text_of_the_conversation(turns, kind, name):
    tokenizer = _cached(kind, name)
    made = encoder_for(tokenizer, "</s>", "<|end|>")
    messages = [message for asked, said in turns for message in talk(("user", asked), ("assistant", said))]
    for number in range(2, len(messages) + 1, 2):
        *_, example = made.supervised({"messages": messages[:number]})
        start, answer = runs(example)[-1]
        prompt = tokenizer.apply_chat_template(messages[: number - 1], add_generation_prompt=True)["input_ids"]
        assert list(example.ids[:start]) == prompt
        whole = tokenizer.apply_chat_template(messages[:number])["input_ids"]
        assert tokenizer.decode(whole).startswith(tokenizer.decode(prompt + answer))
        assert made.stops.isdisjoint(answer[:-1])
        assert answer[-1] in made.stops


_made: dict[tuple[str, str], object] = {}


def _cached(kind, name):
    if (kind, name) not in _made:
        _made[kind, name] = make_word_tokenizer(kind, TEMPLATES[name])
    return _made[kind, name]


@given(
    st.lists(ODD_TEXT | st.sampled_from(["<s>", "</s>", "<|end|>", "<|end|> \n", " "]), max_size=6).map("".join),
    st.sampled_from(KINDS),
)
def test_tokens_of_segments_are_those_of_the_whole_text(text, kind):
    segments = Segments(_cached(kind, "Zephyr"))
    assert segments.ids(text) == segments.whole(text)


def test_a_long_conversation_is_one_example():
    tokenizer = _cached("unigram-first", "Phi-3")
    made = encoder_for(tokenizer, "</s>", "<|end|>")
    messages = talk(*TALK * 20)
    (example,) = made.supervised({"messages": messages})
    wanted = [asked_for(tokenizer, messages[:number], made.stops) for number in range(2, 121, 2)]
    assert runs(example) == [(len(prompt), answer) for prompt, answer in wanted]


def test_where_a_template_ends_no_turn_each_answer_is_learned_with_an_end():
    plain = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    assert learned(plain, *TALK[:4]) == [
        ("user: Hello there\nassistant: ", "Yes and\n<|im_end|>"),
        ("user: Hello there\nassistant: Yes and\nuser: No?\nassistant: ", "maybe Yes\n<|im_end|>"),
    ]


# templates with ways of their own


def test_a_template_s_own_marks_say_the_same():
    tokenizer = make_tokenizer(MARKED)
    (example,) = encoder_for(tokenizer).supervised({"messages": talk(*TALK)})
    found = tokenizer.apply_chat_template(talk(*TALK), return_dict=True, return_assistant_tokens_mask=True)
    newline = tokenizer("\n")["input_ids"]
    assert list(example.ids) == found["input_ids"]
    masked = zip(found["input_ids"], found["assistant_masks"], strict=True)
    marked = [token if mask else UNLEARNED for token, mask in masked]
    for place, (token, label) in enumerate(zip(example.ids, example.labels, strict=True)):
        # this template marks the line's end after the end of a turn too, which nobody has to generate
        after = token == newline[0] and place and example.ids[place - 1] == tokenizer.eos_token_id
        assert label == (UNLEARNED if after else marked[place])


def test_the_end_of_a_turn_is_learned_though_a_template_leaves_it_out_of_its_marks():
    template = MARKED.replace(
        "m.content + '<|im_end|>\n' }}{% endgeneration %}", "m.content }}{% endgeneration %}{{ '<|im_end|>\n' }}"
    )
    assert template != MARKED
    tokenizer = make_tokenizer(template)
    (example,) = encoder_for(tokenizer).supervised({"messages": talk(*TALK)})
    assert [tokenizer.decode(answer) for _, answer in runs(example)] == [
        f"{said}<|im_end|>" for role, said in TALK if role == "assistant"
    ]


def test_what_a_template_writes_into_an_answer_outside_of_its_marks_is_not_learned():
    template = MARKED.replace("{% generation %}", "{{ 'THINK' }}{% generation %}")
    tokenizer = make_tokenizer(template)
    (example,) = encoder_for(tokenizer).supervised({"messages": talk(*TALK[:2])})
    assert "THINKYes and" in tokenizer.decode(list(example.ids))
    assert [tokenizer.decode(answer) for _, answer in runs(example)] == ["Yes and<|im_end|>"]


def learned(template, *turns, stops=()):
    tokenizer = make_tokenizer(template)
    examples = encoder_for(tokenizer, *stops).supervised({"messages": talk(*turns)})
    return [
        (tokenizer.decode(list(example.ids[:start])), tokenizer.decode(answer))
        for example in examples
        for start, answer in runs(example)
    ]


def test_a_prompt_that_opens_a_thought_stands_before_the_answer():
    opens = TEMPLATE.replace("{{ '<|im_start|>assistant\n' }}", "{{ '<|im_start|>assistant\n<think>' }}")
    prompt = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>"
    assert learned(opens, ("user", "q"), ("assistant", "a")) == [(prompt, "a<|im_end|>")]
    # an answer that begins like the opened thought loses nothing
    assert learned(opens, ("user", "q"), ("assistant", "<thirty")) == [(prompt, "<thirty<|im_end|>")]


def test_an_answer_of_which_the_template_drops_a_part_is_refused():
    drops = TEMPLATE.replace("message['content']", "message['content'].split('</think>')[-1]")
    with pytest.raises(InvalidInput, match="leaves out a part of this answer"):
        learned(drops, ("user", "q"), ("assistant", "because</think>a"))
    assert learned(drops, ("user", "q"), ("assistant", "a"))[0][1] == "a<|im_end|>"


def test_a_template_that_shows_the_system_message_only_to_the_last_question_trains_with_it():
    late = (
        "{% set system = messages[0].content if messages[0].role == 'system' %}{% for m in messages %}"
        "{% if m.role == 'user' %}[{{ system + ': ' if loop.last and system }}{{ m.content }}]"
        "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
    )
    turns = [("system", "be kind"), ("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")]
    assert learned(late, *turns) == [
        ("[be kind: q]", " a<|im_end|>"),
        ("[q] a<|im_end|>[be kind: r]", " b<|im_end|>"),
    ]


def test_a_template_that_shows_every_question_differently_once_it_is_answered_is_refused():
    odd = "{% for m in messages %}{{ loop.length }}{{ m.content }}{% endfor %}"
    with pytest.raises(InvalidInput, match="differently once they are answered"):
        learned(odd, ("user", "q"), ("assistant", "a"))


def test_an_answer_whose_start_joins_the_end_of_the_prompt_has_tokens_of_its_own():
    tokenizer = make_tokenizer(TEMPLATE, merges=[("\u010a", "\u010a")])  # two line ends are one token
    made = encoder_for(tokenizer)
    messages = talk(("user", "q"), ("assistant", "\n\nYes"))
    (example,) = made.supervised({"messages": messages})
    ((start, answer),) = runs(example)
    prompt = made.prompt(messages[:1])
    assert list(example.ids[:start]) == prompt
    assert tokenizer.decode(answer) == "\n\nYes<|im_end|>"
    joined = tokenizer.apply_chat_template(messages)["input_ids"]
    assert joined[: len(prompt)] != prompt
    assert tokenizer.decode(prompt + answer) + "\n" == tokenizer.decode(joined)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # TRL's own
def test_the_templates_that_trl_knows_train_in_context_or_are_refused():
    from pathlib import Path

    import trl

    refused, trained = [], []
    for path in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja")):
        tokenizer = make_tokenizer(path.read_text(encoding="utf-8"))
        tokenizer.bos_token = "<|endoftext|>"
        made = encoder_for(tokenizer)
        messages = talk(*TALK)
        try:
            examples = made.supervised({"messages": messages})
        except InvalidInput:
            refused.append(path.stem)
            continue
        trained.append(path.stem)
        found = [(list(example.ids[:start]), answer) for example in examples for start, answer in runs(example)]
        assert len(found) == 3, path.stem
        for number, (prompt, answer) in zip((1, 3, 5), found, strict=True):
            wanted = tokenizer.apply_chat_template(messages[:number], add_generation_prompt=True)["input_ids"]
            assert prompt == wanted, path.stem
            assert messages[number]["content"] in tokenizer.decode(answer), path.stem
        assert found[-1][1][-1] == tokenizer.eos_token_id, path.stem
    # those that take images want the content in parts
    assert len(trained) > 5 * len(refused)
