"""Write the table of what trainings need into the guide of the service, from the trainer's own estimate.

The extra `train` is needed. A test says when the page differs from the estimate.

The models are Llamas of usual shapes; only their configurations are made.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from transformers import LlamaConfig

from tuneway_service.trainers.hf.memory import GIB, Forecast, LargestRows

PAGE = Path(__file__).parent.parent / "docs/guides/service.md"
BEGIN, END = "<!-- memory: scripts/memory_table.py -->", "<!-- memory ends -->"
BATCH = 32
LENGTHS = (1024, 4096)
GPUS = (24, 48, 80)
METHODS: dict[str, dict[str, Any]] = {
    "LoRA": {"lora": True},
    "LoRA, 4 bits": {"lora": True, "quantization": "4bit"},
    "all weights": {"lora": False},
}
MODELS: dict[str, dict[str, Any]] = {
    "0.14 billion": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
    },
    "1.1 billion": {
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
        "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": False,
    },
    "3 billion": {
        "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
        "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True,
    },
    "8 billion": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
    },
}  # fmt: skip


def table() -> str:
    """The table, as Markdown."""
    head = ["Model", "Trained", "Longest row", "Without", "With", *(f"{size} GiB" for size in GPUS)]
    lines = [head, ["---"] * len(head), *(line for model in MODELS for line in lines_of(model))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def lines_of(model: str) -> list[list[str]]:
    """The lines of a model."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        LlamaConfig(**MODELS[model], max_position_embeddings=max(LENGTHS)).save_pretrained(folder)
        for method, settings in METHODS.items():
            need = Forecast(folder, settings | {"lora_r": 16}, kind="cuda", half=True)
            for length in LENGTHS:
                rows = LargestRows(1, length, BATCH)
                least = [need_of(need, rows, checkpointing=on) for on in (False, True)]
                fits = [fit(need, rows, size * GIB) for size in GPUS]
                lines.append([model, method, f"{length:,}", *(f"{size / GIB:.1f} GiB" for size in least), *fits])
    return lines


def need_of(need: Forecast, rows: LargestRows, *, checkpointing: bool) -> int:
    """The bytes for one row at once."""
    parts = need.parts(rows, checkpointing=checkpointing)
    assert parts is not None
    return need.weights + need.learning + parts.alone


def fit(need: Forecast, rows: LargestRows, free: int) -> str:
    """How a training is computed where so much is free."""
    plan = need.plan(rows, free)
    if plan is None:
        return "no"
    return f"{plan.tokens:,}{', checkpointing' if plan.checkpointing else ''}"


def written(page: str) -> str:
    """The page with the table of today."""
    return re.sub(f"(?s){BEGIN}.*{END}", f"{BEGIN}\n\n{table()}\n\n{END}", page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
