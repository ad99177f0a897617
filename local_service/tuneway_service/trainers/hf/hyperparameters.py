"""The hyperparameters of `hf`, and the values of "auto". Users plan with these rules.

- `n_epochs`: by `auto_epochs`, the hosted service's rule.
- `batch_size`: a hundredth of the examples (for dpo and reinforcement a fiftieth), between 1 and 32, so that few
  examples still make many steps. How much of a batch is computed at once follows from the memory (see `memory`).
- `learning_rate_multiplier`: 1, which is the rate of `base_rate`: for LoRA 1e-3 below a billion weights, and 2e-4
  from there; for all weights a tenth of that. dpo and reinforcement use a tenth of the supervised rate. The rate
  rises over the first tenth of the steps (at most 100), then falls linearly to 0.
- `lora`: true; false trains all weights. `lora_r`: 16; the adapters' alpha is twice the rank.
- `context_length`: the model's own. The end of longer examples is cut off.
- `gradient_checkpointing`: "auto" switches it on when the estimate of `memory`, or what happens later, says that the
  memory doesn't suffice without it.
- `quantization`: "none"; "4bit" trains an adapter on a base whose weights are rounded (see `quantised`).
- dpo: `beta` is 0.1.
- reinforcement: `compute_multiplier` is 1, which means 8 answers to each question; `eval_interval` is the steps of an
  epoch; `eval_samples` is 1; `reasoning_effort` sets the longest answer: low 128 tokens, default 256, medium 512,
  high 1024; `max_grader_failures` is 0.5: a job fails at a step in which graders fail for a larger share of the
  answers. Below that, answers without a reward are left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidSpec
from tuneway_service.trainers.hf import quantised
from tuneway_service.trainers.hyperparameters import auto_epochs, settle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.trainers.hf.base import Base

METHODS = ("supervised", "dpo", "reinforcement")
ANSWER_TOKENS = {"low": 128, "default": 256, "medium": 512, "high": 1024}
MAX_GRADER_FAILURES = 0.5
LARGE = 1_000_000_000


def resolve_hyperparameters(method: str, requested: Mapping[str, Any], n_examples: int, base: Base) -> dict[str, Any]:
    """A value for every hyperparameter; raises `InvalidSpec` for methods and values that aren't supported."""
    if method not in METHODS:
        raise InvalidSpec(
            f"the trainer 'hf' doesn't support {method}", field="method", hint=f"It supports {', '.join(METHODS)}."
        )
    defaults: dict[str, Any] = {
        "n_epochs": auto_epochs(n_examples),
        "batch_size": min(32, max(1, n_examples // (100 if method == "supervised" else 50))),
        "learning_rate_multiplier": 1.0,
        "lora": True,
        "lora_r": 16,
        "context_length": base.context_length,
        "gradient_checkpointing": "auto",
        "quantization": "none",
    }
    if method == "dpo":
        defaults["beta"] = 0.1
    if method == "reinforcement":
        defaults |= {
            "compute_multiplier": 1.0,
            "eval_interval": None,
            "eval_samples": 1,
            "reasoning_effort": "default",
            "max_grader_failures": MAX_GRADER_FAILURES,
        }
    settled = settle(method, requested, defaults)
    if method == "reinforcement" and settled["eval_interval"] is None:
        settled["eval_interval"] = math.ceil(n_examples / settled["batch_size"])
    _check(settled, base)
    return settled


def _check(settled: Mapping[str, Any], base: Base) -> None:
    if not isinstance(settled["lora"], bool):
        raise InvalidSpec("lora must be true or false", field="lora", hint="false trains all weights.")
    if settled["gradient_checkpointing"] not in (True, False, "auto"):
        raise InvalidSpec(
            'gradient_checkpointing must be true, false or "auto"',
            field="gradient_checkpointing",
            hint='"auto" switches it on when the memory doesn\'t suffice.',
        )
    quantised.check(settled)
    for name, most in (("lora_r", 256), ("context_length", base.context_length)):
        value = settled[name]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise InvalidSpec(f"{name} must be a number between 1 and {most}", field=name, hint='Or "auto".')
    share = settled.get("max_grader_failures", 0)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share <= 1:
        raise InvalidSpec(
            "max_grader_failures must be a share between 0 and 1", field="max_grader_failures", hint='Or "auto".'
        )


def base_rate(method: str, base: Base, *, lora: bool) -> float:
    """The learning rate for a multiplier of 1."""
    rate = 1e-3 if base.parameters < LARGE else 2e-4
    rate *= 1.0 if lora else 0.1
    return rate if method == "supervised" else rate * 0.1


def rate_at(step: int, total_steps: int) -> float:
    """The share of the learning rate at a step, counted from 0: it rises, then falls to nothing."""
    warm_up = min(100, math.ceil(total_steps / 10))
    if step < warm_up:
        return (step + 1) / warm_up
    return (total_steps - step) / max(1, total_steps - warm_up)


def group_size(compute_multiplier: float) -> int:
    """The number of answers that are sampled for each question."""
    return min(64, max(2, round(8 * compute_multiplier)))
