"""A training of the `bytes` model: epochs of steps; it can be saved between any two steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway.errors import InvalidInput, InvalidSpec
from tuneway_service.trainers.base import CheckpointDue, Progress, Remark, Step
from tuneway_service.trainers.bytewise.dataset import BytesDataset
from tuneway_service.trainers.bytewise.objectives import (
    BytesObjective,
    BytesPreference,
    preference_examples,
    supervised,
    supervised_examples,
)
from tuneway_service.trainers.bytewise.store import export_weights, load_weights, save_weights
from tuneway_service.trainers.bytewise.weights import AdaGrad, Weights
from tuneway_service.trainers.metric_sums import MetricSums

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tuneway_service.trainers.base import TrainingRun

RATE = 0.5
"""The learning rate for a multiplier of 1."""

LARGEST_WEIGHT = 10_000
"""With a larger weight the training has diverged; an exported model could not store it."""

_POSITION = ("step", "epochs_told", "trained_tokens", "metrics")
_VALIDATIONS = 20  # how many batches of validation rows are measured in a whole training, about


class BytesTraining:
    """A training in progress. `start` and `resume` create it."""

    def __init__(self, run: TrainingRun, weights: Weights) -> None:
        self._run = run
        self._batch_size: int = run.hyperparameters["batch_size"]
        self._rate = RATE * run.hyperparameters["learning_rate_multiplier"]
        read = preference_examples if run.method == "dpo" else supervised_examples
        self._train = BytesDataset(run.train_path, read)
        self._valid = BytesDataset(run.valid_path, read) if run.valid_path else None
        self._steps_per_epoch = math.ceil(len(self._train) / self._batch_size)
        self.total_steps = self._steps_per_epoch * int(run.hyperparameters["n_epochs"])
        self._every = math.ceil(self.total_steps / _VALIDATIONS)
        self._weights = weights.widened(self._train.symbols)
        self._optimiser = AdaGrad(self._weights.table.shape[1])
        self._objective: BytesObjective = supervised
        if run.method == "dpo":
            self._objective = BytesPreference(self._weights.widened(()), run.hyperparameters["beta"])
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self._step = 0
        self._epochs_told = 0
        self._trained_tokens = 0
        self._metrics: dict[str, float] = {}

    @property
    def trained_tokens(self) -> int:
        """The bytes and ends of answers, counted once for each epoch."""
        return self._trained_tokens

    @property
    def remarks(self) -> list[Remark]:
        """Which rows are too long."""
        datasets = (self._train, self._valid)
        return [remark for dataset in datasets if dataset is not None and (remark := dataset.cut.remark())]

    def advance(self) -> Iterator[Progress]:
        """Train: each item is one step, and each epoch ends with a `CheckpointDue`."""
        while True:
            if self._step == (self._epochs_told + 1) * self._steps_per_epoch:
                self._epochs_told += 1
                yield CheckpointDue(self._step, self._epochs_told, dict(self._metrics))
            elif self._step < self.total_steps:
                self._learn()
                yield Step(self._step, self.total_steps, dict(self._metrics))
            else:
                return

    def _learn(self) -> None:
        epoch, index = divmod(self._step, self._steps_per_epoch)
        batch = self._shuffled(epoch)[index * self._batch_size : (index + 1) * self._batch_size]
        sums = MetricSums()
        for row in batch:
            examples = self._train[row]
            self._objective(self._weights, examples, sums, self._optimiser)
            self._trained_tokens += sum(len(example.symbols) for example in examples)
        with np.errstate(over="ignore", invalid="ignore"):
            largest = self._optimiser.step(self._weights, self._rate)
        self._step += 1
        if not largest < LARGEST_WEIGHT:  # true for NaN as well
            raise InvalidSpec(
                f"the weights grew out of bounds at step {self._step}",
                field="learning_rate_multiplier",
                hint="Train with a lower learning_rate_multiplier.",
            )
        self._metrics = sums.metrics("train") | self._validate()

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """The rows in this epoch's order, which depends only on the seed and the epoch."""
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng([self._run.seed, epoch])
            self._order = (epoch, random.permutation(len(self._train)))
        return self._order[1]

    def _validate(self) -> dict[str, float]:
        if self._valid is None:
            return {}
        last_of_epoch = self._step % self._steps_per_epoch == 0
        metrics: dict[str, float] = {}
        if last_of_epoch or self._step % self._every == 0:
            first = self._step * self._batch_size
            size = min(self._batch_size, len(self._valid))
            metrics |= self._measure((first + i) % len(self._valid) for i in range(size)).metrics("valid")
        if last_of_epoch:
            metrics |= self._measure(range(len(self._valid))).metrics("full_valid")
        return metrics

    def _measure(self, rows: Iterable[int]) -> MetricSums:
        assert self._valid is not None
        sums = MetricSums()
        for row in rows:
            self._objective(self._weights, self._valid[row], sums, None)
        return sums

    def export(self, folder: Path) -> None:
        """Write the model only."""
        export_weights(folder, self._weights)

    def save(self, folder: Path) -> None:
        """Write everything that `resume` needs; the rows and their order follow from the run."""
        arrays = self._weights.to_arrays() | {"energy": self._optimiser.energy}
        if isinstance(self._objective, BytesPreference):
            reference = self._objective.reference.to_arrays()
            arrays |= {f"reference_{name}": array for name, array in reference.items()}
        position = {name: getattr(self, f"_{name}") for name in _POSITION}
        save_weights(folder, self._weights, arrays, {"run": self._identity(), "position": position})

    @classmethod
    def start(cls, run: TrainingRun) -> BytesTraining:
        """Start, with the weights of a tuned model or with zeros."""
        return cls(run, load_weights(run.base)[0] if run.base else Weights())

    @classmethod
    def resume(cls, run: TrainingRun, folder: Path) -> BytesTraining:
        """Resume from a folder that `save` wrote."""
        weights, arrays, facts = load_weights(folder)
        training = cls(run, weights)
        if facts["run"] != training._identity():
            raise InvalidInput(
                f"{folder.name} belongs to another training",
                hint="Resume with the same rows, method, hyperparameters and seed.",
            )
        training._optimiser.energy = arrays["energy"]
        if isinstance(training._objective, BytesPreference):
            reference = Weights.from_arrays(weights.alphabet, arrays["reference_rows"], arrays["reference_weights"])
            training._objective = BytesPreference(reference, training._objective.beta)
        for name in _POSITION:
            setattr(training, f"_{name}", facts["position"][name])
        return training

    def _identity(self) -> dict[str, Any]:
        """What must be the same when a training resumes."""
        return {
            "method": self._run.method,
            "hyperparameters": dict(self._run.hyperparameters),
            "seed": self._run.seed,
            "train_sha256": self._train.sha256,
            "valid_sha256": self._valid.sha256 if self._valid else None,
        }
