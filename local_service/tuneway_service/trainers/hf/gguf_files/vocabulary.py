"""Write a tokenizer as GGUF.

llama.cpp has its own code for how a text is cut before its pieces become tokens, under a name for each way. The name
is found by what `tokenizer.json` says: by the expression of the cut, not by the name of a model.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gguf import TokenType

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.rendering import PLAIN_TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gguf import GGUFWriter

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_ENDS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXPRESSIONS = {
    rf"{_CONTRACTIONS}\p{{N}}{{1,3}}{_ENDS}": "llama-bpe",
    rf"{_CONTRACTIONS}\p{{N}}{_ENDS}": "qwen2",
    _TEKKEN: "tekken",
}
"""How texts are cut, and llama.cpp's name for it."""
WHOLE_WORDS = frozenset({"llama-bpe", "tekken"})
"""The cuts after which llama.cpp takes a piece that is a token as it is, without merging."""

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "\u2581"


def write_tokenizer(writer: GGUFWriter, tokenizer: Any, stops: Sequence[int], size: int) -> None:
    """Write a tokenizer of Transformers.

    Args:
        writer: What writes.
        tokenizer: The tokenizer; it must be a fast one.
        stops: The tokens that end an answer; the first is the most usual.
        size: How many tokens the model has; it may be more than the tokenizer has.
    """
    inner = json.loads(tokenizer.backend_tokenizer.to_str())
    if inner["model"]["type"] != "BPE":
        raise _unknown(f"a vocabulary of the kind {inner['model']['type']}")
    if not inner["model"]["merges"]:
        raise _unknown("a vocabulary without merges")
    words = _bytes_are_words(inner)
    tokens, kinds = zip(*_tokens(inner, size, words=words), strict=True)
    if words:
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(_scores(inner, tokens))
        writer.add_add_space_prefix(_has_prefix(inner))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(cut_of(inner))
        writer.add_token_merges([" ".join(pair) for pair in _pairs(inner)])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    _write_special(writer, tokenizer, stops)
    writer.add_chat_template(_template(tokenizer))


def cut_of(inner: dict[str, Any]) -> str:
    """Llama.cpp's name for how this tokenizer cuts texts; `inner` is the content of `tokenizer.json`."""
    cut = inner["pre_tokenizer"] or {}
    steps = cut.get("pretokenizers", [cut])
    kinds = [step.get("type") for step in steps]
    found = None
    if kinds == ["ByteLevel"] and steps[0]["use_regex"] and not steps[0]["add_prefix_space"]:
        found = "gpt-2"
    elif kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and steps[1]["use_regex"]:
        found = "smollm"
    elif kinds == ["Split", "ByteLevel"]:
        found = EXPRESSIONS.get(steps[0]["pattern"].get("Regex", ""))
    if found is None or bool(inner["model"].get("ignore_merges")) != (found in WHOLE_WORDS):
        raise _unknown(f"the cut {json.dumps(cut)[:200]}")
    return found


def _unknown(what: str) -> InvalidInput:
    return InvalidInput(
        f"the tokenizer of this model can't be written as GGUF here: {what} isn't known",
        hint="These are known: those of Llama 2 and 3, Mistral, Qwen and SmolLM. llama.cpp's own"
        " convert_hf_to_gguf.py knows more; give it the folder that `tuneway export --merged` writes.",
    )


def _bytes_are_words(inner: dict[str, Any]) -> bool:
    """Whether it is a vocabulary of SentencePiece, in which unknown characters become tokens such as `<0x0A>`."""
    return bool(inner["model"].get("byte_fallback"))


def _has_prefix(inner: dict[str, Any]) -> bool:
    """Whether a space is put before a text."""
    steps = (inner["normalizer"] or {}).get("normalizers", [inner["normalizer"] or {}])
    cut = inner["pre_tokenizer"] or {}
    return any(step.get("type") == "Prepend" for step in steps) or (
        cut.get("type") == "Metaspace" and cut.get("prepend_scheme") != "never"
    )


def _pairs(inner: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for merge in inner["model"]["merges"]:
        left, right = merge if isinstance(merge, list) else merge.split(" ", 1)
        yield left, right


def _scores(inner: dict[str, Any], tokens: Sequence[str]) -> list[float]:
    """How early a token is made by a merge: llama.cpp merges by scores, and the highest comes first."""
    made: dict[str, int] = {}
    for number, pair in enumerate(_pairs(inner)):
        made.setdefault("".join(pair), number)
    last = len(made) + 1
    return [-float(made.get(token, last)) for token in tokens]


def _tokens(inner: dict[str, Any], size: int, *, words: bool) -> Iterator[tuple[str, int]]:
    """Each token with its kind, in order; `size` of them."""
    added = {entry["id"]: entry for entry in inner["added_tokens"]}
    texts = {number: token for token, number in inner["model"]["vocab"].items()}
    unknown = inner["model"].get("unk_token")
    for number in range(size):
        if number in added:
            entry = added[number]
            text, kind = entry["content"], TokenType.CONTROL if entry["special"] else TokenType.USER_DEFINED
            kind = TokenType.UNKNOWN if words and text == unknown else kind
        elif number in texts:
            text, kind = texts[number], TokenType.BYTE if words and _BYTE.fullmatch(texts[number]) else TokenType.NORMAL
        else:
            text, kind = f"[PAD{number}]", TokenType.UNUSED
        yield text, int(kind)


def _write_special(writer: GGUFWriter, tokenizer: Any, stops: Sequence[int]) -> None:
    if stops:
        writer.add_eos_token_id(stops[0])
    for other in stops[1:2]:
        writer.add_eot_token_id(other)
    for name, add in (
        ("bos", writer.add_bos_token_id),
        ("unk", writer.add_unk_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            add(number)
    first = tokenizer("a").input_ids[:1]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id])
    writer.add_add_eos_token(False)


def _template(tokenizer: Any) -> str:
    """The chat template by which the model was tuned."""
    found = tokenizer.chat_template
    if isinstance(found, dict):
        found = found.get("default") or next(iter(found.values()))
    return str(found or PLAIN_TEMPLATE)
