"""Ollama's description of a model: its template, run by Go's own engine, makes the prompts of the model's template."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("transformers", reason="needs the extra `train`")
pytest.importorskip("go_template", reason="needs Go's templates: pip install go-template")

from go_template import render_template
from support.tiny_llama import TEMPLATE, make_tokenizer
from support.word_tokenizers import LLAMA_2, PHI_3, ZEPHYR, make_word_tokenizer

from tuneway_service.trainers.hf.gguf_files.modelfile import go_template, modelfile

DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are {{kind}}<|im_end|>\n' }}{% endif %}"
    + TEMPLATE
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'"
    " + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
TEMPLATES = {
    "ChatML": TEMPLATE, "a default system message": DEFAULT_SYSTEM, "Llama 2": LLAMA_2, "Llama 3": LLAMA_3,
    "Zephyr": ZEPHYR, "Phi-3": PHI_3, "none": None,
}  # fmt: skip
TALKS = [
    ["user"],
    ["user", "assistant", "user"],
    ["system", "user"],
    ["system", "user", "assistant", "user", "assistant", "user"],
]


def tokenizer_with(template):
    return make_word_tokenizer("bpe-prepended", template)


def rendered(template, talk, folder):
    """What Ollama makes of a talk: the system's messages are one, beside the messages."""
    system = "\n\n".join(message["content"] for message in talk if message["role"] == "system")
    values = {"System": system, "Messages": [{name.title(): text for name, text in m.items()} for m in talk]}
    (folder / "template.txt").write_text(template)
    (folder / "values.json").write_text(json.dumps(values))
    render_template(str(folder / "template.txt"), str(folder / "values.json"), str(folder / "prompt.txt"))
    return (folder / "prompt.txt").read_text()


@pytest.mark.parametrize("roles", TALKS, ids=" ".join)
@pytest.mark.parametrize("name", TEMPLATES)
def test_ollama_makes_the_prompts_of_the_models_own_template(tmp_path, name, roles):
    tokenizer = tokenizer_with(TEMPLATES[name])
    talk = [{"role": role, "content": f"{role}'s {{ word }} {place}"} for place, role in enumerate(roles)]
    template = go_template(tokenizer)
    if "system" in roles and name == "Llama 2":  # it shows a system message as an answer
        pytest.skip("the template takes no system message")
    expected = tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)

    assert rendered(template, talk, tmp_path) == expected.removeprefix(tokenizer.bos_token)


def test_a_template_that_shows_turns_differently_is_left_to_ollama():
    odd = TEMPLATE.replace("message['content']", "(message['content'] if loop.last else message['content'] | upper)")
    tokenizer = tokenizer_with(odd.replace("{% for message", "{{ messages | length }}{% for message"))

    assert go_template(tokenizer) is None
    text = modelfile(tokenizer, [], model="model.gguf")
    assert "TEMPLATE" not in text
    assert "# The model's chat template can't be written" in text


def test_a_modelfile_names_the_files_and_the_ends_of_answers():
    tokenizer = make_tokenizer()
    text = modelfile(tokenizer, [tokenizer.eos_token_id], model="base.gguf", adapter="adapter.gguf")

    assert text.splitlines()[:3] == ["FROM ./base.gguf", "ADAPTER ./adapter.gguf", 'PARAMETER stop "<|im_end|>"']
    assert text.count('TEMPLATE """') == 1
