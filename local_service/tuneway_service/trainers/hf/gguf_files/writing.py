"""Write weights as GGUF, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from tuneway.errors import InvalidInput
from tuneway_service.trainers.hf.facts import ADAPTER
from tuneway_service.trainers.hf.gguf_files.families import Family
from tuneway_service.trainers.hf.gguf_files.vocabulary import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tuneway_service.model_formats import WeightKind

BEGIN = "base_model.model."
SIDES = {".lora_A.weight": ".lora_a", ".lora_B.weight": ".lora_b"}


class _Tensor(NamedTuple):
    """A tensor to write: its name, its shape, how it is stored, and what reads it."""

    name: str
    shape: Sequence[int]
    kind: gguf.GGMLQuantizationType
    read: Callable[[], NDArray[Any]]


def write_whole(folder: Path, path: Path, kind: WeightKind = "f16", *, name: str | None = None) -> None:
    """Write a folder of Transformers as one file.

    Args:
        folder: The model with its tokenizer.
        path: The file to write.
        kind: How the weights are stored, such as "f16" or "q8_0". Norms and biases are always stored in full precision.
        name: The model's name for people; else that of the folder.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    family = Family.of(config)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.architecture])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name or folder.name)
    writer.add_file_type(gguf.LlamaFileType[{"f32": "ALL_F32"}.get(kind, f"MOSTLY_{kind.upper()}")])
    if kind.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    family.describe(writer)
    write_tokenizer(writer, *tokenizer_and_stops(folder), config.vocab_size)
    with ExitStack() as stack:
        _write(writer, list(_weights(family, _Weights(stack, folder), gguf.GGMLQuantizationType[kind.upper()])))


def write_adapter(adapter: Path, base: Path, path: Path) -> None:
    """Write a LoRA adapter as a file for its base as GGUF.

    Args:
        adapter: The folder that PEFT wrote.
        base: The base model's folder.
        path: The file to write.
    """
    settings = json.loads((adapter / ADAPTER).read_bytes())
    family = Family.of(AutoConfig.from_pretrained(base, local_files_only=True))
    if settings.get("use_dora") or settings.get("modules_to_save") or settings.get("rank_pattern"):
        raise InvalidInput(
            "this adapter has more than LoRA's two matrices for each layer",
            hint="Write the merged model: --merged.",
        )
    scale = settings["lora_alpha"] * (settings["r"] ** 0.5 if settings.get("use_rslora") else 1)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.architecture])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(scale))
    with ExitStack() as stack:
        _write(writer, list(_matrices(family, _Weights(stack, adapter))))


class _Weights:
    """The tensors of the safetensors files of a folder, each read when it is asked for."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        files = [stack.enter_context(safe_open(path, framework="pt")) for path in sorted(folder.glob("*.safetensors"))]
        self._files = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - no dictionary

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def shape(self, name: str) -> list[int]:
        """The shape of a tensor."""
        return list(self._files[name].get_slice(name).get_shape())

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor in full precision."""
        values: NDArray[np.float32] = self._files[name].get_tensor(name).to(torch.float32).numpy()
        return values


def _weights(family: Family, weights: _Weights, wanted: gguf.GGMLQuantizationType) -> Iterator[_Tensor]:
    names = gguf.get_tensor_name_map(family.architecture, family.config.num_hidden_layers)
    factors = family.rope_factors()
    if factors is not None:
        name = gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.ROPE_FREQS] + ".weight"
        yield _Tensor(name, factors.shape, gguf.GGMLQuantizationType.F32, lambda: factors)
    for name in weights:
        if name == "lm_head.weight" and family.config.tie_word_embeddings:
            continue
        shape = weights.shape(name)
        yield _Tensor(_named(names, name), shape, _kind(shape, wanted), partial(_read, family, weights, name, name))


def _matrices(family: Family, weights: _Weights) -> Iterator[_Tensor]:
    names = gguf.get_tensor_name_map(family.architecture, family.config.num_hidden_layers)
    for name in weights:
        side = next((end for end in SIDES if name.endswith(end)), None)
        if side is None or not name.startswith(BEGIN):
            raise InvalidInput(f"{name} is no matrix of LoRA", hint="Write the merged model: --merged.")
        tuned = f"{name.removeprefix(BEGIN).removesuffix(side)}.weight"
        # the second matrix gives the rows of what is tuned; the first takes what goes in, as it is
        read = partial(_read, family, weights, name, tuned if side == ".lora_B.weight" else "")
        yield _Tensor(f"{_named(names, tuned)}{SIDES[side]}", weights.shape(name), gguf.GGMLQuantizationType.F32, read)


def _read(family: Family, weights: _Weights, name: str, order_of: str) -> NDArray[Any]:
    """A tensor with its rows in the order of a weight of this name."""
    return family.ordered(order_of, weights.read(name))


def _named(names: gguf.TensorNameMap, name: str) -> str:
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise InvalidInput(f"llama.cpp has no name for the weight {name}", hint="Is this a variant of the model?")
    return str(found)


def _kind(shape: Sequence[int], wanted: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    """How a tensor of this shape is stored: vectors exactly, and rows that blocks don't divide in half precision."""
    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return gguf.GGMLQuantizationType.F16 if shape[-1] % block else wanted


def _write(writer: gguf.GGUFWriter, tensors: Sequence[_Tensor]) -> None:
    for tensor in tensors:
        block, size = gguf.GGML_QUANT_SIZES[tensor.kind]
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), int(np.prod(tensor.shape)) // block * size, tensor.kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(np.ascontiguousarray(quantize(tensor.read(), tensor.kind)))
    writer.close()


def tokenizer_and_stops(folder: Path) -> tuple[Any, list[int]]:
    """A model's tokenizer, and the tokens that end an answer, the tokenizer's own first."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ends: Any = None
    if (folder / "generation_config.json").exists():
        ends = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    every = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    return tokenizer, list(dict.fromkeys(number for number in every if number is not None))
