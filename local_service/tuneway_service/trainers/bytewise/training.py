"""A training of the `bytes` model: epochs of steps, at rest between any two."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway.errors import InvalidInput, InvalidSpec
from tuneway_service.trainers.base import CheckpointDue, Progress, Step
from tuneway_service.trainers.bytewise.dataset import BytesDataset
from tuneway_service.trainers.bytewise.objectives import (
    BytesObjective,
    BytesPreference,
    preference_lessons,
    supervised,
    supervised_lessons,
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
"""The learning rate that a multiplier of 1 means."""

LARGEST_WEIGHT = 10_000
"""Beyond it a training has run away; an exported model could not hold such weights."""

_POSITION = ("step", "epochs_told", "trained_tokens", "metrics")
_VALIDATIONS = 20  # batches of the validation rows that are measured over a whole training, or a few more


class BytesTraining:
    """A training under way. Make one with `start` or `resume`."""

    def __init__(self, run: TrainingRun, weights: Weights) -> None:
        self._run = run
        self._batch_size: int = run.hyperparameters["batch_size"]
        self._rate = RATE * run.hyperparameters["learning_rate_multiplier"]
        read = preference_lessons if run.method == "dpo" else supervised_lessons
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
        """Bytes and ends of answers, once for each epoch that learned from them."""
        return self._trained_tokens

    def advance(self) -> Iterator[Progress]:
        """Train, one step for each item; each epoch ends with a `CheckpointDue`."""
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
        tally = MetricSums()
        for row in batch:
            lessons = self._train[row]
            self._objective(self._weights, lessons, tally, self._optimiser)
            self._trained_tokens += sum(len(lesson.symbols) for lesson in lessons)
        with np.errstate(over="ignore", invalid="ignore"):
            largest = self._optimiser.step(self._weights, self._rate)
        self._step += 1
        if not largest < LARGEST_WEIGHT:  # true for NaN as well
            raise InvalidSpec(
                f"the weights grew out of bounds at step {self._step}",
                field="learning_rate_multiplier",
                hint="Train with a lower learning_rate_multiplier.",
            )
        self._metrics = tally.metrics("train") | self._validate()

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """The rows in this epoch's order, which depends on the seed and the epoch alone."""
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
        tally = MetricSums()
        for row in rows:
            self._objective(self._weights, self._valid[row], tally, None)
        return tally

    def export(self, folder: Path) -> None:
        """Write the model alone."""
        export_weights(folder, self._weights)

    def save(self, folder: Path) -> None:
        """Write everything that `resume` needs; rows and their order come from the run itself."""
        arrays = self._weights.to_arrays() | {"energy": self._optimiser.energy}
        if isinstance(self._objective, BytesPreference):
            reference = self._objective.reference.to_arrays()
            arrays |= {f"reference_{name}": array for name, array in reference.items()}
        position = {name: getattr(self, f"_{name}") for name in _POSITION}
        save_weights(folder, self._weights, arrays, {"run": self._identity(), "position": position})

    @classmethod
    def start(cls, run: TrainingRun) -> BytesTraining:
        """Begin, with a tuned model's weights or with none."""
        return cls(run, load_weights(run.base)[0] if run.base else Weights())

    @classmethod
    def resume(cls, run: TrainingRun, folder: Path) -> BytesTraining:
        """Go on from a folder that `save` wrote."""
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
        """What a save must agree with, for a resume to make sense."""
        return {
            "method": self._run.method,
            "hyperparameters": dict(self._run.hyperparameters),
            "seed": self._run.seed,
            "train_sha256": self._train.sha256,
            "valid_sha256": self._valid.sha256 if self._valid else None,
        }
