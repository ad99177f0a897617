"""Base models in 4 bits, by bitsandbytes: the weights take an eighth of the memory, and an adapter is trained on them.

The weights are rounded to 16 levels (NF4) when the base is loaded, the same ones each time; the file of the base stays
as it is. What is exported is merged into its full precision. This module imports no large library.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOUR_BITS = "4bit"
CHOICES = ("none", FOUR_BITS)
OLDEST = (0, 46)
"""Older releases run on NVIDIA's GPUs only."""
BLOCK = 64
"""So many weights share a scale of one byte."""
SCALES = 256
"""So many of these scales share one of four bytes."""
REARRANGES = "support_avx512bf16_for_cpu"
"""The attribute of layers that, without gradients, some processors rearrange: there are no gradients from then on."""
BYTES_PER_WEIGHT = 0.5 + 1 / BLOCK + 4 / (BLOCK * SCALES)


def is_asked(settings: Mapping[str, Any]) -> bool:
    """Whether the base is to be in 4 bits; a job of an earlier version has no such setting."""
    return bool(settings.get("quantization", "none") == FOUR_BITS)


def is_installed() -> bool:
    """Whether bitsandbytes is here."""
    try:
        numbers = version("bitsandbytes").split(".")
        return tuple(map(int, numbers[:2])) >= OLDEST
    except (PackageNotFoundError, ValueError):
        return False


def refuse(why: str, hint: str) -> InvalidSpec:
    """The error for settings or machines without 4-bit weights."""
    return InvalidSpec(f'quantization="{FOUR_BITS}" {why}', field="quantization", hint=hint)


def check(settings: Mapping[str, Any]) -> None:
    """Raise `InvalidSpec` for settings that can't be had."""
    if settings["quantization"] not in CHOICES:
        raise InvalidSpec('quantization must be "none" or "4bit"', field="quantization", hint='The default is "none".')
    if not is_asked(settings):
        return
    if not settings["lora"]:
        raise refuse("trains an adapter, and not all weights", "Leave lora at true, or quantization out.")
    if not is_installed():
        raise refuse("needs bitsandbytes 0.46 or newer", "On the service: pip install 'tuneway[train-4bit]'")


def load(folder: Path, kind: Any, device: Any) -> Any:
    """A model with the weights of its linear layers in 4 bits.

    Args:
        folder: The model, in its full precision.
        kind: The type of the other weights, in which is also computed.
        device: The device to load it on.

    Raises:
        InvalidSpec: This machine can't compute with such weights.
    """
    import transformers

    _try(device)
    how = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=kind,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=kind, quantization_config=how, device_map={"": device}, local_files_only=True
    )
    for part in model.modules():
        if hasattr(part, REARRANGES):
            setattr(part, REARRANGES, False)
    return model


def _try(device: Any) -> None:
    """Round some weights, and compute with them."""
    import torch

    try:
        from bitsandbytes import functional

        some = torch.ones(BLOCK, BLOCK, device=device)
        rounded, state = functional.quantize_4bit(some, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
        found = functional.dequantize_4bit(rounded, state)
        works = bool(torch.allclose(found, some, atol=0.1))
    except Exception as error:  # whatever a library for other hardware does
        raise refuse(f"doesn't run on this machine: {error}", 'Leave it at "none".') from error
    if not works:
        raise refuse("computes nonsense on this machine", 'Leave it at "none".')
