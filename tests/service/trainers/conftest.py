"""A trainer, and a training told in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.datasets import write

from tuneway_service.trainers import Step, TrainingRun, TrainingSession, make_trainer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def trainer():
    return make_trainer("bytes")


@pytest.fixture
def prepare(trainer, tmp_path):
    """A run of these rows, ready to start: `prepare(rows, valid=rows, method=…, base=…, seed=…, n_epochs=…)`."""

    def prepare(rows, *, valid=None, method="supervised", base=None, seed=1, **requested) -> TrainingRun:
        return TrainingRun(
            method=method,
            train_path=write(tmp_path / "train.jsonl", rows),
            valid_path=write(tmp_path / "valid.jsonl", valid) if valid else None,
            hyperparameters=trainer.resolve(method, requested, len(rows)),
            seed=seed,
            base=base,
        )

    return prepare


@pytest.fixture
def train(trainer, prepare):
    """Train these rows to the end; the training, its steps and its checkpoints."""

    def train(rows, **options) -> tuple[TrainingSession, list[Any], list[Any]]:
        training = trainer.start(prepare(rows, **options))
        told = list(training.advance())
        steps = [item for item in told if isinstance(item, Step)]
        return training, steps, [item for item in told if not isinstance(item, Step)]

    return train


@pytest.fixture
def chat_with(trainer, tmp_path):
    """The model that a training has made, through the disk and back."""
    count = iter(range(1_000))

    def chat_with(training):
        folder = tmp_path / f"model-{next(count)}"
        training.export(folder)
        return trainer.load_model(folder)

    return chat_with


@pytest.fixture
def contents(tmp_path):
    """What `write` (a training's `export` or `save`) writes, by file name."""
    count = iter(range(1_000))

    def contents(write) -> dict[str, bytes]:
        folder: Path = tmp_path / f"contents-{next(count)}"
        write(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return contents
