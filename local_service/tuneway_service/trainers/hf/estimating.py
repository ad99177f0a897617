"""Estimates the memory of a training before its job exists: `python -m tuneway_service.trainers.hf.estimating`.

It reads a question as JSON from standard input, and writes the answer as the last line of standard output. It is a
process of its own, so that the service needn't load PyTorch.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tuneway_service.trainers.hf import HfTrainer
from tuneway_service.trainers.hf.free import free_memory
from tuneway_service.trainers.hf.memory import forecast, largest_rows, remark
from tuneway_service.trainers.hf.models import best_device, half

if TYPE_CHECKING:
    from tuneway_service.trainers.hf.memory import Forecast, LargestRows


def estimate(
    base: str, method: str, requested: dict[str, Any], *, rows: int, longest: int, here: bool
) -> dict[str, Any] | None:
    """What a training needs; None if its model can't be computed without its weights.

    Args:
        base: The base model, after `hf:`.
        method: The method.
        requested: The hyperparameters that were asked for.
        rows: The number of examples.
        longest: The tokens of the longest one.
        here: Whether this machine trains it, so that its free memory counts.
    """
    trainer = HfTrainer(base)
    settings = trainer.resolve(method, requested, rows)
    device = best_device()
    need = forecast(trainer.base.folder(), settings, kind=device.type, half=half(device))
    if need is None:
        return None
    largest = largest_rows(method, settings, min(longest, settings["context_length"]))
    return answer(need, largest, free_memory(device) if here else None)


def answer(need: Forecast, rows: LargestRows, free: int | None) -> dict[str, Any]:
    """What a training needs, as the service says it."""
    plan = need.plan(rows, free)
    known: dict[str, Any] = {
        "fits": None if free is None else plan is not None,
        "free_bytes": free,
        "weights_bytes": need.weights,
        "learning_bytes": need.learning,
    }
    if plan is None:
        assert free is not None  # without it, everything fits
        return {"bytes": need.least(rows), "message": need.refusal(rows, free)} | known
    return {
        "bytes": plan.bytes,
        "message": remark(plan, free).text,
        "tokens_at_once": plan.tokens,
        "gradient_checkpointing": plan.checkpointing,
    } | known


if __name__ == "__main__":
    sys.stdout.write(json.dumps(estimate(**json.load(sys.stdin))) + "\n")
