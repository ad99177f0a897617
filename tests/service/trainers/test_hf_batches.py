"""Many rows at once have the same examples as each alone: tokens, labels and errors, by every template."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_llama import TEMPLATE, make_tokenizer
from support.word_tokenizers import KINDS, TEMPLATES, make_word_tokenizer

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.batches import Batches
from tuneway_service.trainers.hf.tokens import Encoder

MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>\n' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last or m.role != 'assistant' else m.content.split('/')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# the thought of the last answer only, as Qwen shows it
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# what a question says changes the prompt for its answer, and nothing else
SWITCHED = (
    TEMPLATE.replace("<|im_start|>assistant\n' }}", "<|im_start|>assistant\n' }}"
    "{% if '/no_think' in messages[-1].content %}{{ '<think></think>' }}{% endif %}")
)  # fmt: skip
# one character as much as a word: the template shows a long text in another way
COUNTS = TEMPLATE.replace("message['content'] +", "(message['content'] if message['content']|length < 9 else 'long') +")
TRIMS = TEMPLATE.replace("message['content']", "message['content'] | trim")
LATE = (
    "{% set system = messages[0].content if messages[0].role == 'system' %}{% for m in messages %}"
    "{% if m.role == 'user' %}[{{ system + ': ' if loop.last and system }}{{ m.content }}]"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
ODD = "{% for m in messages %}{{ loop.length }}{{ m.content }}{% endfor %}"
TOOLS = (
    "{% if tools %}TOOLS{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}CALL{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
OWN = {
    "ChatML": TEMPLATE, "marks": MARKED, "forgets": FORGETS, "thinks": THINKS, "switched": SWITCHED, "counts": COUNTS,
    "trims": TRIMS, "late": LATE, "odd": ODD, "tools": TOOLS, "strict": STRICT, "none": None,
}  # fmt: skip

_made: dict[object, Encoder] = {}


def encoder_of(name: str, tokenizer=None) -> Encoder:
    """An encoder by one of these templates, made once."""
    if name not in _made:
        kind, _, template = name.partition("/")
        if tokenizer is None:
            tokenizer = make_word_tokenizer(kind, TEMPLATES[template]) if template else make_tokenizer(OWN[name])
        ends = (tokenizer.eos_token, "<|end|>", "<|im_end|>")
        known = tokenizer.get_vocab()
        _made[name] = Encoder(tokenizer, [known[end] for end in ends if end in known], 400)
    return _made[name]


PIECES = (
    "Yes", "No", " ", "\n", "\n\n", "a", "é", "\U0001f600", ".", "<", "|", "</s>", "<|im_end|>", "<|end|>", "<think>",
    "</think>", "/", "/no_think", "<|im_start|>assistant\n", "[INST]", "{", '"', "tell me", "Qx<100&",
)  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"order": 7}'}}
FUNCTION = {"type": "function", "function": {"name": "look_up", "description": "Find.", "parameters": {}}}


@st.composite
def messages(draw):
    """A conversation: mostly questions and answers in turn, sometimes anything."""
    if draw(st.integers(0, 4)) == 0:
        roles = draw(st.lists(st.sampled_from(["system", "user", "assistant", "tool", "developer"]), max_size=5))
    else:
        roles = ["system"] * draw(st.integers(0, 1)) + ["user", "assistant"] * draw(st.integers(1, 4))
    found = []
    for role in roles:
        message = {"role": role, "content": draw(TEXT)}
        if role == "assistant" and draw(st.integers(0, 5)) == 0:
            message["weight"] = draw(st.integers(0, 1))
        if role == "assistant" and draw(st.integers(0, 9)) == 0:
            message["tool_calls"] = [CALL]
        if draw(st.integers(0, 14)) == 0:
            message["content"] = [{"type": "text", "text": message["content"]}]
        found.append(message)
    return found


SUPERVISED = st.fixed_dictionaries({"messages": messages()}, optional={"tools": st.just([FUNCTION])}) | (
    st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT}) | st.just({"nothing": 1})
)
SAID = TEXT.map(lambda text: [{"role": "assistant", "content": text}])
PREFERENCE = st.fixed_dictionaries({
    "input": st.fixed_dictionaries({"messages": messages()}), "preferred_output": SAID, "non_preferred_output": SAID,
})  # fmt: skip


def one_by_one(make, rows):
    """What the encoder makes of each row alone: its examples, or the text of its error."""
    found = []
    for row in rows:
        try:
            found.append(list(make(row)))
        except InvalidInput as error:
            found.append(str(error))
    return found


def at_once(found):
    """The same of many rows."""
    return [str(one) if isinstance(one, InvalidInput) else one for one in found]


WORDS = [f"{kind}/{name}" for kind in KINDS for name in TEMPLATES]
MANY = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@pytest.mark.parametrize("name", OWN)
@MANY
@given(rows=st.lists(SUPERVISED, max_size=3))
def test_rows_at_once_have_the_examples_of_each_alone(rows, name):
    encoder = encoder_of(name)
    assert at_once(Batches(encoder).supervised(rows)) == one_by_one(encoder.supervised, rows)


@MANY
@given(st.lists(SUPERVISED, max_size=4), st.sampled_from(WORDS))
def test_rows_at_once_have_the_examples_of_each_alone_by_tokenizers_that_see_the_start_of_a_text(rows, name):
    encoder = encoder_of(name)
    assert at_once(Batches(encoder).supervised(rows)) == one_by_one(encoder.supervised, rows)


@MANY
@given(st.lists(PREFERENCE, max_size=3), st.sampled_from([*OWN, *WORDS]))
def test_pairs_at_once_have_the_examples_of_each_alone(rows, name):
    encoder = encoder_of(name)
    assert at_once(Batches(encoder).preference(rows)) == one_by_one(encoder.preference, rows)


# what it costs: the number of renderings and tokenisings, not a time


class Counted:
    """A function that counts its calls and the items of the lists that it gets."""

    def __init__(self, function):
        self.function, self.calls, self.items = function, 0, 0

    def __call__(self, given, *args, **kwargs):
        self.calls += 1
        self.items += len(given) if isinstance(given, list) and given and isinstance(given[0], (list, str)) else 1
        return self.function(given, *args, **kwargs)


def talk(number: int, turns: int) -> dict[str, list[dict[str, str]]]:
    found = []
    for turn in range(turns):
        found += [
            {"role": "user", "content": f"question {number} {turn}"},
            {"role": "assistant", "content": f"{turn}!"},
        ]
    return {"messages": found}


@pytest.mark.parametrize("name", ["ChatML", "trims", "counts", "none", "bpe-first/Zephyr", "unigram-first/Phi-3"])
def test_a_conversation_of_a_known_shape_is_rendered_once_however_many_answers_it_has(name, monkeypatch):
    encoder = encoder_of(name)
    batches = Batches(encoder)
    batches.supervised([talk(0, 9)])
    rendered = Counted(encoder.tokenizer.apply_chat_template)
    monkeypatch.setattr(encoder.tokenizer, "apply_chat_template", rendered)
    one_at_a_time = []
    monkeypatch.setattr(encoder, "examples", one_at_a_time.append)
    rows = [talk(number, 9) for number in range(1, 30)]
    if name == "counts":  # the texts of these rows are long, those of the trial weren't shown
        rows = [{"messages": [{**m, "content": m["content"][:8]} for m in row["messages"]]} for row in rows]
    found = batches.supervised(rows)
    assert all(len(examples) == 1 for examples in found)
    assert rendered.items == len(rows) or name == "counts"
    assert one_at_a_time == []


def test_a_template_that_looks_into_the_texts_is_rendered_for_each_answer():
    encoder = encoder_of("switched")
    batches = Batches(encoder)
    plain, switched = talk(1, 3), talk(1, 3)
    switched["messages"][2]["content"] += " /no_think"
    found, other = batches.supervised([plain, switched])
    assert [found, other] == one_by_one(encoder.supervised, [plain, switched])
    assert len(found) == 1
    assert len(other) > 1  # the prompt of the second answer isn't how the conversation begins


@pytest.mark.slow
@settings(parent=MANY, max_examples=300)
@given(st.data())
def test_rows_at_once_have_the_examples_of_each_alone_by_the_templates_that_trl_knows(data):
    import trl

    paths = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
    path = data.draw(st.sampled_from(paths))
    if path.stem not in _made:
        tokenizer = make_tokenizer(path.read_text(encoding="utf-8"))
        tokenizer.bos_token = "<|endoftext|>"
        encoder_of(path.stem, tokenizer)
    encoder = _made[path.stem]
    rows = data.draw(st.lists(SUPERVISED, max_size=3))
    assert at_once(Batches(encoder).supervised(rows)) == one_by_one(encoder.supervised, rows)
