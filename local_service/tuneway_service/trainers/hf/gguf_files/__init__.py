"""Write a model as GGUF, the format of llama.cpp and of what is built on it: Ollama, LM Studio and others.

`write_whole` writes all weights of a folder of Transformers, `write_adapter` a LoRA adapter for such a model, and
`modelfile` what Ollama wants beside them. Weights are read and written one tensor at a time. `families` knows the
architectures, `vocabulary` the tokenizers; a model of another kind is refused by its name, because llama.cpp would
answer nonsense with it.
"""

from __future__ import annotations

from tuneway_service.trainers.hf.gguf_files.modelfile import modelfile
from tuneway_service.trainers.hf.gguf_files.writing import tokenizer_and_stops, write_adapter, write_whole

__all__ = ["modelfile", "tokenizer_and_stops", "write_adapter", "write_whole"]
