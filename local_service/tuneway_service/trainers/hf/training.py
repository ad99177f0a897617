"""A training of a language model: epochs of steps; it can be saved between any two steps."""

from __future__ import annotations

import math
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from tuneway.errors import InvalidInput, InvalidSpec
from tuneway_service.trainers.base import CheckpointDue, Progress, Remark, Step
from tuneway_service.trainers.hf.free import free_memory
from tuneway_service.trainers.hf.hyperparameters import base_rate, rate_at
from tuneway_service.trainers.hf.memory import SHORT, DoesNotFit, LargestRows, checked, forecast, largest_rows, remark
from tuneway_service.trainers.hf.models import best_device, export, half, load_to_tune, written_whole
from tuneway_service.trainers.hf.preference import HfPreference
from tuneway_service.trainers.hf.preparing import Preparer
from tuneway_service.trainers.hf.reinforcement import HfReinforcement
from tuneway_service.trainers.hf.room import Room, out_of_memory
from tuneway_service.trainers.hf.supervised import HfSupervised
from tuneway_service.trainers.hf.tokens import VERSION, Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuneway_service.trainers.base import TrainingRun
    from tuneway_service.trainers.hf.base import Base
    from tuneway_service.trainers.hf.models import Tuned
    from tuneway_service.trainers.hf.objectives import HfObjective

STATE = "state.pt"
LARGEST_NORM = 1.0
VALIDATIONS = 10
"""How many batches of validation rows are measured in a whole training."""

_POSITION = ("step", "checkpointed", "trained_tokens", "metrics")


class HfTraining:
    """A training in progress. `start` and `resume` create it."""

    def __init__(self, base: Base, run: TrainingRun) -> None:
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        settings = run.hyperparameters
        self._base = base
        self._run = run
        device = best_device()
        # before the weights are loaded, which takes memory
        free, need = free_memory(device), forecast(base.folder(), settings, kind=device.type, half=half(device))
        if need is not None:
            checked(need, LargestRows(1, SHORT), free)
        self._tuned: Tuned = load_to_tune(base, run.base, settings, run.seed)
        self._tuned.ranks = run.ranks
        # a job of an earlier version has no such setting
        checkpointing = settings.get("gradient_checkpointing", "auto")
        self._tuned.room = Room(self._tuned.model, self._tuned.device.type, checkpointing)
        self._tuned.model.train()
        self._objective: HfObjective = self._make_objective()
        if need is not None and (plan := checked(need, self._largest(), free)):
            self._tuned.room.begin(plan.room, checkpointing=plan.checkpointing)
            run.tell(remark(plan, free))
        self._batch_size: int = settings["batch_size"]
        self._steps_per_epoch = math.ceil(len(self._objective.train) / self._batch_size)
        self.total_steps = self._steps_per_epoch * int(settings["n_epochs"])
        self._between_checkpoints: int = settings.get("eval_interval", self._steps_per_epoch)
        self._between_validations = math.ceil(self.total_steps / VALIDATIONS)
        self._rate = base_rate(run.method, base, lora=settings["lora"]) * settings["learning_rate_multiplier"]
        self._weights = self._tuned.learning()
        self._optimiser = torch.optim.AdamW(self._weights.values(), lr=0.0, weight_decay=0.0)
        self._order: tuple[int, list[int]] | None = None
        self._step = 0
        self._checkpointed = 0
        self._trained_tokens = 0
        self._metrics: dict[str, float] = {}

    def _make_objective(self) -> Any:
        run, tuned = self._run, self._tuned
        encoder = Encoder(tuned.tokenizer, tuned.stops, run.hyperparameters["context_length"])
        preparer = Preparer(encoder, run.prepared, run.tell)
        rows = (tuned, preparer, run.train_path, run.valid_path)
        if run.method == "dpo":
            return HfPreference(*rows, beta=run.hyperparameters["beta"])
        if run.method == "reinforcement":
            return HfReinforcement(*rows, run=run)
        return HfSupervised(*rows)

    def _largest(self) -> LargestRows:
        train, run = self._objective.train, self._run
        return largest_rows(
            run.method, run.hyperparameters, train.longest, learned=train.most_learned, examples=train.most_examples
        )

    @property
    def trained_tokens(self) -> int:
        """The tokens of answers, counted once for each epoch."""
        return self._trained_tokens

    @property
    def remarks(self) -> list[Remark]:
        """Which rows are too long."""
        datasets = (self._objective.train, self._objective.valid)
        return [remark for dataset in datasets if dataset is not None and (remark := dataset.cut.remark())]

    def advance(self) -> Iterator[Progress]:
        """Train: each item is one step, and each full validation ends with a `CheckpointDue`."""
        self._tuned.model.eval()
        with _memory(self._run):
            self._objective.prepare()
        self._tuned.model.train()
        while True:
            if self._checkpointed < self._step and self._is_checkpoint():
                self._checkpointed = self._step
                epoch = math.ceil(self._step / self._steps_per_epoch)
                yield CheckpointDue(self._step, epoch, dict(self._metrics))
            elif self._step < self.total_steps:
                began = time.perf_counter()
                with _memory(self._run):
                    self._learn()
                groups = self._objective.groups(time.perf_counter() - began)
                remarks = (*self._objective.remarks(self._step), *self._tuned.room.told())
                yield Step(self._step, self.total_steps, dict(self._metrics), remarks, groups)
            else:
                return

    def _is_checkpoint(self) -> bool:
        return self._step % self._between_checkpoints == 0 or self._step == self.total_steps

    def _learn(self) -> None:
        epoch, index = divmod(self._step, self._steps_per_epoch)
        rows = self._shuffled(epoch)[index * self._batch_size : (index + 1) * self._batch_size]
        # the random numbers depend only on the seed and the step, so a resume needs no saved state of them
        torch.manual_seed(self._run.seed * 1_000_003 + self._step + (self._run.ranks.rank << 40))
        sums = self._objective.learn(rows, self._step)
        self._run.ranks.add_up_gradients(self._weights.values())
        norm = torch.nn.utils.clip_grad_norm_(self._weights.values(), LARGEST_NORM)
        if not torch.isfinite(norm):
            raise InvalidSpec(
                f"the training diverged at step {self._step + 1}",
                field="learning_rate_multiplier",
                hint="Train with a lower learning_rate_multiplier.",
            )
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * rate_at(self._step, self.total_steps)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._trained_tokens += sum(self._objective.tokens(row) for row in rows)
        self._step += 1
        self._metrics = sums.metrics("train") | self._validate()

    def _shuffled(self, epoch: int) -> list[int]:
        """The rows in this epoch's order, which depends only on the seed and the epoch."""
        if self._order is None or self._order[0] != epoch:
            order = list(range(len(self._objective.train)))
            random.Random(f"{self._run.seed}/{epoch}").shuffle(order)  # noqa: S311 - no secret
            self._order = (epoch, order)
        return self._order[1]

    def _validate(self) -> dict[str, float]:
        valid = self._objective.valid
        if valid is None:
            return {}
        metrics: dict[str, float] = {}
        self._tuned.model.eval()
        full = self._is_checkpoint()
        if self._run.method != "reinforcement" and (full or self._step % self._between_validations == 0):
            first = self._step * self._batch_size
            rows = [(first + i) % len(valid) for i in range(min(self._batch_size, len(valid)))]
            metrics |= self._objective.measure(rows, self._step).metrics("valid")
        if full:
            metrics |= self._objective.measure(range(len(valid)), self._step).metrics("full_valid")
        self._tuned.model.train()
        return metrics

    def export(self, folder: Path) -> None:
        """Write the model only."""
        facts = {
            "trainer": f"hf:{self._base.name}",
            "base_model": self._base.card,
            "method": self._run.method,
            "hyperparameters": dict(self._run.hyperparameters),
            "learning_rate": self._rate,
            "seed": self._run.seed,
            "step": self._step,
        }
        export(self._tuned, folder, facts)

    def save(self, folder: Path) -> None:
        """Write everything that `resume` needs; the rows and their order follow from the run."""
        state = {
            "run": self._identity(),
            "position": {name: getattr(self, f"_{name}") for name in _POSITION},
            "weights": self._weights,
            "optimiser": self._optimiser.state_dict(),
            "beginning": self._objective.reference(),
            "room": self._tuned.room.saved(),
        }
        with written_whole(folder) as unfinished:
            torch.save(state, unfinished / STATE)

    @classmethod
    def start(cls, base: Base, run: TrainingRun) -> HfTraining:
        """Start."""
        with _memory(run):
            return cls(base, run)

    @classmethod
    def resume(cls, base: Base, run: TrainingRun, folder: Path) -> HfTraining:
        """Resume from a folder that `save` wrote."""
        with _memory(run):
            training = cls(base, run)
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        if state["run"] != training._identity():
            raise InvalidInput(
                f"{folder.name} belongs to another training",
                hint="Resume with the same rows, method, hyperparameters and seed.",
            )
        with torch.no_grad():
            for name, weight in training._weights.items():
                weight.copy_(state["weights"][name])
        training._optimiser.load_state_dict(state["optimiser"])
        training._objective.restore(state["beginning"])
        if "room" in state:
            training._tuned.room.restore(state["room"])
        for name in _POSITION:
            setattr(training, f"_{name}", state["position"][name])
        return training

    def _identity(self) -> dict[str, Any]:
        """What must be the same when a training resumes."""
        valid = self._objective.valid
        # reinforcement learns from tokens that the model has sampled
        tokens = {} if self._run.method == "reinforcement" else {"tokens": VERSION}
        return tokens | {
            "base": self._base.name,
            "method": self._run.method,
            "hyperparameters": dict(self._run.hyperparameters),
            "seed": self._run.seed,
            "train_sha256": self._objective.train.sha256,
            "valid_sha256": valid.sha256 if valid else None,
        }


@contextmanager
def _memory(run: TrainingRun) -> Iterator[None]:
    """Replace the libraries' out-of-memory errors by a `MemoryError` that says what to change."""
    try:
        yield
    except DoesNotFit:
        raise  # it says so itself
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        settings = run.hyperparameters
        lower = [f"context_length (now {settings['context_length']}) or the longest examples"]
        if settings["lora"]:
            lower.append(f"lora_r (now {settings['lora_r']})")
        else:
            lower.insert(0, "what is trained: lora=true instead of all weights")
        raise MemoryError(
            f"The training needs more memory than there is. Lower {', '.join(lower)}, or take a smaller model."
            f" ({str(error).splitlines()[0][:300]})"
        ) from error
