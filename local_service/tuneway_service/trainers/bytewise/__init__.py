"""The trainer `bytes`: a small model that learns in seconds with nothing but NumPy. It is not a language model.

The model is log-linear: it predicts each byte of an answer from hashed features of the conversation and of the answer
so far. It learns which answers belong to which words, and texts that repeat; it can't reason or copy, and knows
nothing else. Sums run in a fixed order on one thread, so the same rows, hyperparameters and seed give the same
weights, byte for byte, on the same machine; another NumPy build or processor may differ in the last digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneway.errors import InvalidSpec
from tuneway_service.trainers.hyperparameters import auto_epochs, settle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuneway_service.trainers.base import Chat, TrainingRun, TrainingSession

__all__ = ["BytesTrainer"]


class BytesTrainer:
    """Trains `bytes` models: supervised and dpo."""

    name = "bytes"

    def describe(self) -> dict[str, Any]:
        """The model card."""
        return {
            "trainer": self.name,
            "summary": (
                "A small local model, not a language model and not a hosted model. It learns short answers "
                "that follow from words of the question; it knows nothing else."
            ),
            "kind": "log-linear over the next byte, hashed features of the conversation and of the answer, AdaGrad",
            "size": "at most 65,536 features, each with a weight for every byte that occurs in an answer",
            "methods": ["supervised", "dpo"],
            "token": "a byte of an answer, or its end",
        }

    def resolve(self, method: str, requested: Mapping[str, Any], n_examples: int) -> dict[str, Any]:
        """A value for every hyperparameter.

        The values of "auto": `n_epochs` by `auto_epochs`; `batch_size` a fiftieth of the examples, between 1 and
        32; `learning_rate_multiplier` 1, which is an AdaGrad rate of 0.5; `beta` 0.5.
        """
        if method not in ("supervised", "dpo"):
            raise InvalidSpec(
                f"the trainer 'bytes' doesn't support {method}",
                field="method",
                hint="It supports supervised and dpo; for reinforcement choose a trainer 'hf'.",
            )
        defaults: dict[str, Any] = {
            "n_epochs": auto_epochs(n_examples),
            "batch_size": min(32, max(1, n_examples // 50)),
            "learning_rate_multiplier": 1.0,
        }
        if method == "dpo":
            defaults["beta"] = 0.5
        return settle(method, requested, defaults)

    # NumPy is imported only where a model is created: the service itself doesn't need it.

    def start(self, run: TrainingRun) -> TrainingSession:
        """Start a training."""
        from tuneway_service.trainers.bytewise.training import BytesTraining

        return BytesTraining.start(run)

    def resume(self, run: TrainingRun, folder: Path) -> TrainingSession:
        """Resume from a saved folder."""
        from tuneway_service.trainers.bytewise.training import BytesTraining

        return BytesTraining.resume(run, folder)

    def base_model(self) -> Chat:
        """The model before any training."""
        from tuneway_service.trainers.bytewise.chat import BytesChat
        from tuneway_service.trainers.bytewise.weights import Weights

        return BytesChat(Weights())

    def load_model(self, folder: Path) -> Chat:
        """An exported model."""
        from tuneway_service.trainers.bytewise.chat import BytesChat
        from tuneway_service.trainers.bytewise.store import load_weights

        return BytesChat(load_weights(folder)[0])
