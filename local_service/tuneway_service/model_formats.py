"""The forms in which a tuned model can be written for other programs."""

from __future__ import annotations

from typing import Literal

ModelFormat = Literal["transformers", "gguf", "ollama"]
"""The format of an exported model: Transformers (also read by vLLM), GGUF (llama.cpp), or GGUF with a Modelfile."""

WeightKind = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
"""How GGUF stores weights, the most exact first."""
