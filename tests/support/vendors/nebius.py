"""Nebius Token Factory in memory: OpenAI's wire, with rules of its own for the body of a create."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.fake_service import FakeService, refuse, reply

from tuneway.calls import Request, Response

FIELDS = {"model", "training_file", "validation_file", "suffix", "seed", "integrations", "hyperparameters", "metadata"}
HYPERPARAMETERS = {
    "n_epochs", "batch_size", "learning_rate", "learning_rate_multiplier", "warmup_ratio", "weight_decay",
    "max_grad_norm", "packing", "context_length", "lora", "lora_r", "lora_alpha", "lora_dropout",
}  # fmt: skip
DEFAULTS = {"n_epochs": 3, "batch_size": 8, "lora": False}
LONGEST_SUFFIX = 64


@dataclass
class Nebius(FakeService):
    """It drops metadata, shows the suffix, and takes hyperparameters at the top of the body only."""

    keeps_metadata: bool = False
    filters_metadata: bool = False

    def _create_job(self, request: Request) -> Response:
        body = dict(request.json or {})
        problem = _problem(body)
        if problem is not None:
            return refuse(400, problem[1], param=problem[0])
        body |= {"hyperparameters": DEFAULTS | (body.get("hyperparameters") or {})}
        body.pop("metadata", None)
        return reply(self.add_job(**EMPTY | body))

    def add_job(self, **fields: Any) -> dict[str, Any]:
        """A job as Nebius shows it, which is running at once."""
        return super().add_job(**{"status": "running", "seed": 7, "metadata": None} | EMPTY | fields)


EMPTY = {
    "validation_file": None, "integrations": [], "suffix": None, "organization_id": "tenant-1", "result_files": [],
    "trained_tokens": None, "estimated_finish": None, "finished_at": None, "trained_steps": 0, "total_steps": 10,
    "hyperparameters": DEFAULTS, "training_file": "file-1",
}  # fmt: skip


def _problem(body: dict[str, Any]) -> tuple[str, str] | None:
    """Find the field that makes a body invalid, and the reason."""
    if "method" in body and "hyperparameters" in body:
        return "method", "method and hyperparameters can't be given together"
    unknown = sorted(body.keys() - FIELDS)
    if unknown:
        return unknown[0], f"unknown field: {unknown[0]}"
    hyperparameters = body.get("hyperparameters") or {}
    for name, value in hyperparameters.items():
        if name not in HYPERPARAMETERS or not isinstance(value, int | float):
            return f"hyperparameters.{name}", f"hyperparameters.{name} can't be {value!r}"
    rate = hyperparameters.get("learning_rate", hyperparameters.get("learning_rate_multiplier"))
    if rate is not None and not 0 < rate < 0.1:
        return "hyperparameters.learning_rate", "the learning rate is out of range"
    if len(body.get("suffix") or "") > LONGEST_SUFFIX:
        return "suffix", f"a suffix has at most {LONGEST_SUFFIX} characters"
    return None
