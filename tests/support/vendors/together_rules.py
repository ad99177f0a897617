"""What Together AI refuses: bodies of creates, and rows of data. Its limits, model by model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
_TAGS = {"lr_scheduler": "lr_scheduler_type", "training_type": "type", "training_method": "method"}
BINDING = "Could not create the FineTune object (Binding)"
COLUMNS = (
    ({"messages"}, {"messages", "tools"}),
    ({"prompt", "completion"}, {"prompt", "completion"}),
    ({"text"}, {"text"}),
    ({"input", "preferred_output", "non_preferred_output"}, {"input", "preferred_output", "non_preferred_output"}),
)
"""The columns of each format: those that a row needs, and those that it may have."""
SHAPES: dict[str, Any] = {
    "training_file": str,
    "validation_file": str,
    "model": str,
    "suffix": str,
    "n_epochs": int,
    "n_evals": int,
    "n_checkpoints": int,
    "batch_size": (int, str),
    "learning_rate": (int, float),
    "warmup_ratio": (int, float),
    "max_grad_norm": (int, float),
    "weight_decay": (int, float),
    "random_seed": int,
    "packing": bool,
    "lr_scheduler": dict,
    "training_type": dict,
    "training_method": dict,
}


def limits_of(model: str, **more: Any) -> dict[str, Any]:
    """The limits of a model that can be tuned."""
    lora = {
        "default_rank": 8,
        "max_batch_size": 32,
        "max_batch_size_dpo": 16,
        "max_rank": 64,
        "min_batch_size": 8,
        "target_modules": ["k_proj", "o_proj", "q_proj", "v_proj"],
    }
    return {
        "model_name": model,
        "default_gradient_accumulation_steps": 1,
        "lora_training": lora | more.pop("lora", {}),
        "full_training": None,
        "max_learning_rate": 0.01,
        "min_learning_rate": 1e-8,
        "max_num_checkpoints": 10,
        "max_num_epochs": 20,
        "max_num_evals": 100,
        "max_seq_length_dpo": 8192,
        "max_seq_length_sft": 16384,
        "min_max_seq_length": 32,
        "merge_output_lora": False,
        "supports_full_training": False,
        "supports_reasoning": False,
        "supports_tools": True,
        "supports_vision": False,
    } | more


def problems(
    body: dict[str, Any], limits: dict[str, Any] | None, *, ready: Callable[[str], bool], takes_max: bool
) -> Iterator[str]:
    """What is wrong with the body of a create. The service has no defaults of its own."""
    yield from _misshapen(body)
    yield from _missing(body)
    for place in ("training_file", "validation_file"):
        if not ready(body.get(place) or ""):
            yield f"{place} is not a file of this project, or was not validated"
    if body.get("validation_file") and not body.get("n_evals"):
        yield "n_evals must be at least 1 with a validation file"
    if limits is None:
        yield f"model {body.get('model')} is not available for fine-tuning"
        return
    yield from _beyond(body, limits, takes_max=takes_max)


def _misshapen(body: dict[str, Any]) -> Iterator[str]:
    for name, kind in SHAPES.items():
        if name in body and (not isinstance(body[name], kind) or (kind is not bool and isinstance(body[name], bool))):
            yield BINDING
    if any(place in body and key not in body[place] for place, key in _TAGS.items()):
        yield BINDING
    if body.keys() & {"metadata", "hyperparameters", "method", "seed", "integrations"}:
        yield BINDING


def _missing(body: dict[str, Any]) -> Iterator[str]:
    if not body.get("training_file"):
        yield "training_file is missing"
    if not body.get("batch_size"):
        yield "batch size is zero"
    if (body.get("n_checkpoints") or 0) < 1:
        yield "number of checkpoints is less than one"
    if (body.get("n_epochs") or 0) < 1:
        yield "number of epochs is less than one"
    if len(body.get("suffix") or "") > 40:
        yield "suffix is longer than 40 characters"


def _beyond(body: dict[str, Any], limits: dict[str, Any], *, takes_max: bool) -> Iterator[str]:
    lora, full = limits["lora_training"], limits["full_training"]
    kind = body.get("training_type") or {"type": "Lora" if lora else "Full"}
    if kind["type"] == "Lora" and not lora:
        yield "LoRA training is not supported for this model"
        return
    lora = full if full and kind["type"] == "Full" else lora
    dpo = (body.get("training_method") or {}).get("method") == "dpo"
    most = lora["max_batch_size_dpo" if dpo else "max_batch_size"]
    size = body["batch_size"]
    if isinstance(size, str):
        if size != "max" or not takes_max:
            yield BINDING
    elif not lora["min_batch_size"] <= size <= most:
        yield f"batch size is not within {lora['min_batch_size']} and {most}"
    if not limits["min_learning_rate"] <= body.get("learning_rate", 0) <= limits["max_learning_rate"]:
        yield "learning rate is out of range"
    if kind["type"] == "Full" and not limits["supports_full_training"]:
        yield "full training is not supported for this model"
    if kind["type"] == "Lora" and kind.get("lora_r", 1) > lora["max_rank"]:
        yield "lora_r is larger than the maximum rank"
    named = set(kind.get("lora_trainable_modules", "").split(",")) - {""}
    if named and limits.get("names_modules") and not named <= set(lora["target_modules"]):
        yield f"invalid target modules: {', '.join(sorted(named - set(lora['target_modules'])))}"


def format_error(content: bytes) -> str | None:
    """What is wrong with the rows of a file."""
    for number, line in enumerate(content.splitlines(), 1):
        columns = set(json.loads(line))
        fitting = [allowed for needed, allowed in COLUMNS if needed <= columns]
        if not fitting:
            return f"InvalidFileFormatError: line {number} has no known format"
        extra = columns - fitting[0]
        if extra:
            return f"InvalidFileFormatError: Found extra column {min(extra)} in the line {number}"
    return None
