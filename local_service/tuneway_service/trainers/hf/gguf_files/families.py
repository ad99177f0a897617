"""The architectures that can be written as GGUF: llama.cpp's name for each, its settings, and its order of weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gguf import MODEL_ARCH, RopeScalingType

from tuneway.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

FAMILIES = {
    "LlamaForCausalLM": MODEL_ARCH.LLAMA,
    "MistralForCausalLM": MODEL_ARCH.LLAMA,
    "Qwen2ForCausalLM": MODEL_ARCH.QWEN2,
    "Qwen3ForCausalLM": MODEL_ARCH.QWEN3,
}
"""The classes of Transformers, and the architectures of llama.cpp that compute the same."""


@dataclass(frozen=True)
class Family:
    """The architecture of one model.

    Args:
        name: The class of Transformers.
        config: The model's configuration, as Transformers reads it.
    """

    name: str
    config: Any

    @classmethod
    def of(cls, config: Any) -> Family:
        """The family of a model; raises `InvalidInput` for one that isn't known."""
        name = (config.architectures or [type(config).__name__])[0]
        if name not in FAMILIES:
            raise InvalidInput(
                f"a {name} can't be written as GGUF here",
                hint=f"These can: {', '.join(FAMILIES)}. Without --format gguf, `tuneway export` writes a folder,"
                " from which llama.cpp's own convert_hf_to_gguf.py reads more of them.",
            )
        return cls(name, config)

    @property
    def architecture(self) -> MODEL_ARCH:
        """Llama.cpp's architecture."""
        return FAMILIES[self.name]

    @property
    def head_size(self) -> int:
        """The size of an attention head."""
        size = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        return int(size)

    def describe(self, writer: GGUFWriter) -> None:
        """Write the settings."""
        config = self.config
        writer.add_block_count(config.num_hidden_layers)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(self.head_size)
        writer.add_value_length(self.head_size)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_dimension_count(self.head_size)
        writer.add_vocab_size(config.vocab_size)
        self._describe_rope(writer)

    def _describe_rope(self, writer: GGUFWriter) -> None:
        rope = config_of_rope(self.config)
        writer.add_rope_freq_base(float(rope["rope_theta"]))
        match rope["rope_type"]:
            case "default" | "llama3":  # the second is a tensor of factors
                pass
            case "linear":
                writer.add_rope_scaling_type(RopeScalingType.LINEAR)
                writer.add_rope_scaling_factor(float(rope["factor"]))
            case "yarn":
                writer.add_rope_scaling_type(RopeScalingType.YARN)
                writer.add_rope_scaling_factor(float(rope["factor"]))
                writer.add_rope_scaling_orig_ctx_len(
                    int(rope.get("original_max_position_embeddings") or self.config.max_position_embeddings)
                )
            case other:
                raise InvalidInput(
                    f"a model with rope scaling of the type {other!r} can't be written as GGUF here",
                    hint="These can: none, llama3, linear, yarn.",
                )

    def rope_factors(self) -> NDArray[np.float32] | None:
        """What each rotation's frequency is divided by, for models that say so (Llama 3.1 and later)."""
        import numpy as np

        rope = config_of_rope(self.config)
        if rope["rope_type"] != "llama3":
            return None
        size = self.head_size
        lengths = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, size, 2, dtype=np.float64) / size)
        context = float(rope["original_max_position_embeddings"])
        low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
        smooth = (context / lengths - low) / (high - low)
        factor = float(rope["factor"])
        between = 1 / ((1 - smooth) / factor + smooth)
        factors = np.where(lengths < context / high, 1.0, np.where(lengths > context / low, factor, between))
        return factors.astype(np.float32)

    def ordered(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """A weight with its rows in llama.cpp's order: Llama's rotated halves of a head are interleaved there."""
        layer = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
        if self.architecture is not MODEL_ARCH.LLAMA or layer not in ("q_proj", "k_proj"):
            return values
        heads = self.config.num_attention_heads if layer == "q_proj" else self.config.num_key_value_heads
        halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape)


def config_of_rope(config: Any) -> dict[str, Any]:
    """The settings of the rotary positions, with a type and a base always."""
    found = dict(getattr(config, "rope_parameters", None) or {})
    return {"rope_type": "default", "rope_theta": getattr(config, "rope_theta", None) or 10_000.0} | found
