"""Tokenizers that treat the start of a text in their own way, as Llama 2, Zephyr, Phi-3 and Gemma do, made in place."""

from __future__ import annotations

import string
from typing import Any

WORDS = ("Yes", "No", "yes", "maybe", "user", "assistant", "INST", "Hello", "there", "and")
SPACE = "\u2581"
KINDS = ("unigram-first", "unigram-always", "bpe-first", "bpe-always", "bpe-prepended")

LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
TEMPLATES = {"Llama 2": LLAMA_2, "Zephyr": ZEPHYR, "Phi-3": PHI_3}


def make_word_tokenizer(kind: str, template: str | None) -> Any:
    """A tokenizer that writes unknown characters as bytes, and joins each space to the word that follows."""
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    model, scheme = kind.split("-")
    tokenizer = Tokenizer(_unigram() if model == "unigram" else _bpe())
    if scheme == "prepended":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=model == "unigram")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")]
    # as in Phi-3, the end of a turn takes the white space after it
    tokenizer.add_special_tokens([*special, AddedToken("<|end|>", special=True, normalized=False, rstrip=True)])
    bos = ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[bos])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>",
        chat_template=template,
    )  # fmt: skip


def _pieces() -> list[str]:
    characters = [SPACE, *string.ascii_letters, *string.digits, *"[]/|<>.,:?!\u00e9"]
    return ["<unk>", "<s>", "</s>", "<|end|>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters]


def _unigram() -> Any:
    from tokenizers.models import Unigram

    words = [(prefix + word, -1.0) for word in WORDS for prefix in (SPACE, "")]
    return Unigram([*((piece, -10.0) for piece in _pieces()), *words], unk_id=0, byte_fallback=True)


def _bpe() -> Any:
    from tokenizers.models import BPE

    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        merges |= {(word[:size], word[size]): None for size in range(1, len(word))}
    merges |= {(SPACE, word): None for word in WORDS}
    pieces = dict.fromkeys([*_pieces(), *("".join(pair) for pair in merges)])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
