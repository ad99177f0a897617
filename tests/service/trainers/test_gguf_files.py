"""Models as GGUF, judged by llama.cpp: the same tokens, the same prompts, the same answers as Transformers."""

from __future__ import annotations

import json
from typing import get_args

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("peft", reason="needs the extra `train`")
pytest.importorskip("xllamacpp", reason="needs llama.cpp: pip install xllamacpp")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support.llama_cpp import llama_cpp
from support.tiny_llama import MERGES, SPECIAL, TEMPLATE, make_tiny_llama, make_tokenizer
from support.word_tokenizers import make_word_tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tuneway.errors import InvalidInput
from tuneway_service.model_formats import WeightKind
from tuneway_service.trainers.hf.gguf_files import write_adapter, write_whole
from tuneway_service.trainers.hf.gguf_files.vocabulary import EXPRESSIONS, WHOLE_WORDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # PEFT uses it
]

TEXTS = [
    "Hello there, the 12345 things",
    "it's THE llama's\n\n  end \t x",
    "é ñ 漢字 🙂 don't DON'T",
    "a1b22c333 +--+ /path//to\r\n",
    "   ",
]
TALKS = [[{"role": "user", "content": text}] for text in TEXTS]


def cut_by(expression, *, ignore_merges):
    """A tokenizer of bytes that cuts texts as a family does."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    inner = json.loads(make_tokenizer(merges=MERGES).backend_tokenizer.to_str())
    inner["model"]["ignore_merges"] = ignore_merges
    tokenizer = Tokenizer.from_str(json.dumps(inner))
    split = pre_tokenizers.Split(Regex(expression), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=SPECIAL[2], pad_token=SPECIAL[0], chat_template=TEMPLATE
    )


def digits():
    from tokenizers import pre_tokenizers

    tokenizer = make_tokenizer(merges=MERGES)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


TOKENIZERS = {
    "gpt-2": lambda: make_tokenizer(merges=MERGES),
    "smollm": digits,
    "words": lambda: make_word_tokenizer("bpe-prepended", TEMPLATE),
    **{
        name: lambda text=text, name=name: cut_by(text, ignore_merges=name in WHOLE_WORDS)
        for text, name in EXPRESSIONS.items()
    },
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_llama_cpp_makes_the_same_tokens_and_prompts(tmp_path, name):
    tokenizer = TOKENIZERS[name]()
    folder = make_tiny_llama(tmp_path / "tiny", tokenizer=tokenizer, num_hidden_layers=1)
    write_whole(folder, tmp_path / "tiny.gguf")

    with llama_cpp(tmp_path / "tiny.gguf") as there:
        assert [there.tokens(text) for text in TEXTS] == [tokenizer(text).input_ids for text in TEXTS]
        assert [there.prompt(talk) for talk in TALKS] == [
            tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False) for talk in TALKS
        ]


def made(kind, config, folder, **changes):
    """A model of a family, as random as `make_tiny_llama` makes one."""
    tokenizer = make_tokenizer(merges=MERGES)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(1)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    settings = size | {"num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2} | changes
    model = kind(config(vocab_size=len(tokenizer) + 5, **ids, **settings))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):  # zeros otherwise
            torch.nn.init.normal_(weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
MODELS = {
    "Llama": lambda folder: make_tiny_llama(folder, tokenizer=make_tokenizer(merges=MERGES)),
    "Llama with biases": lambda folder: make_tiny_llama(
        folder, tokenizer=make_tokenizer(merges=MERGES), attention_bias=True
    ),
    "Llama 3.1": lambda folder: make_tiny_llama(
        folder, tokenizer=make_tokenizer(merges=MERGES), rope_parameters=LLAMA_3, head_dim=32
    ),
    "linear": lambda folder: make_tiny_llama(
        folder,
        tokenizer=make_tokenizer(merges=MERGES),
        rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
    ),
    "Mistral": lambda folder: made(MistralForCausalLM, MistralConfig, folder, sliding_window=None),
    "Qwen2": lambda folder: made(Qwen2ForCausalLM, Qwen2Config, folder, tie_word_embeddings=True),
    "Qwen3": lambda folder: made(Qwen3ForCausalLM, Qwen3Config, folder, head_dim=32),
}


def answers(model, tokenizer, tokens=12):
    """For each talk its prompt, and the likeliest tokens after it."""
    for talk in TALKS:
        given = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        written = model.generate(**given, max_new_tokens=tokens, do_sample=False)[0].tolist()
        size = given["input_ids"].shape[1]
        yield written[:size], written[size:]


def continued(there, here):
    """How llama.cpp goes on after the same prompts."""
    return [(prompt, there.continued(prompt)) for prompt, _ in here]


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def tuned(folder, to, **changes):
    """An adapter with weights that turn the model."""
    model, _ = loaded(folder)
    torch.manual_seed(2)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **changes))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(to)
    return to


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_gives_the_answers_of_transformers_with_an_adapter_and_without(tmp_path, name):
    folder = MODELS[name](tmp_path / "model")
    adapter = tuned(folder, tmp_path / "adapter")
    model, tokenizer = loaded(folder)
    write_whole(folder, tmp_path / "model.gguf", "f32")
    write_adapter(adapter, folder, tmp_path / "adapter.gguf")

    plain = list(answers(model, tokenizer))
    with llama_cpp(tmp_path / "model.gguf") as there:
        assert continued(there, plain) == plain
    turned = list(answers(PeftModel.from_pretrained(model, str(adapter)), tokenizer))
    assert turned != plain
    with llama_cpp(tmp_path / "model.gguf", tmp_path / "adapter.gguf") as there:
        assert continued(there, turned) == turned


def test_an_adapter_that_scales_by_the_root_of_its_rank_is_written_so(tmp_path):
    folder = MODELS["Llama"](tmp_path / "model")
    adapter = tuned(folder, tmp_path / "adapter", use_rslora=True)
    write_whole(folder, tmp_path / "model.gguf", "f32")
    write_adapter(adapter, folder, tmp_path / "adapter.gguf")
    model, tokenizer = loaded(folder)

    with llama_cpp(tmp_path / "model.gguf", tmp_path / "adapter.gguf") as there:
        turned = list(answers(PeftModel.from_pretrained(model, str(adapter)), tokenizer))
        assert continued(there, turned) == turned


@pytest.mark.parametrize("kind", get_args(WeightKind))
def test_every_kind_of_weights_is_loaded(tmp_path, kind):
    folder = MODELS["Llama"](tmp_path / "model")
    write_whole(folder, tmp_path / "model.gguf", kind)

    with llama_cpp(tmp_path / "model.gguf") as there:
        assert there.answer(TALKS[0], tokens=4) is not None


def test_fewer_bits_make_a_smaller_file(tmp_path):
    folder = MODELS["Llama"](tmp_path / "model")
    sizes = []
    for kind in ("f32", "f16", "q8_0", "q5_0", "q4_0"):
        write_whole(folder, tmp_path / f"{kind}.gguf", kind)
        sizes.append((tmp_path / f"{kind}.gguf").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_other_models_and_tokenizers_are_refused_by_name(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    made(GPT2LMHeadModel, GPT2Config, tmp_path / "other", n_layer=1, n_head=2, n_embd=32)
    with pytest.raises(InvalidInput, match="a GPT2LMHeadModel can't be written as GGUF here") as caught:
        write_whole(tmp_path / "other", tmp_path / "other.gguf")
    assert "LlamaForCausalLM" in str(caught.value.hint)

    folder = make_tiny_llama(tmp_path / "cut", tokenizer=cut_by(r"\s+|\S", ignore_merges=False))
    with pytest.raises(InvalidInput, match="the tokenizer of this model can't be written as GGUF here"):
        write_whole(folder, tmp_path / "cut.gguf")
