"""What a trainer is to the service: four small protocols and what passes between them.

The service knows no trainer's inside. It asks a `Trainer` to settle the hyperparameters, starts a `TrainingSession`,
walks its `advance()` and turns each `Progress` into events and checkpoints; an exported folder is loaded as
a `Chat` to answer questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuneway_service.graders import Grading

    Grade: TypeAlias = Callable[[Mapping[str, Any], str], Grading]

Message: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training, settled: nothing in it is "auto" any more.

    Args:
        method: "supervised", "dpo" or "reinforcement".
        train_path: The training rows, as JSONL.
        valid_path: The validation rows, measured and never learned from.
        hyperparameters: What `Trainer.resolve` returned.
        seed: The same seed, rows and hyperparameters give the same weights.
        base: The exported folder to start from when tuning a tuned model; otherwise the trainer's own base.
        grade: For reinforcement: grades an answer to a row.
    """

    method: str
    train_path: Path
    valid_path: Path | None = None
    hyperparameters: Mapping[str, Any]
    seed: int = 0
    base: Path | None = None
    grade: Grade | None = None


@dataclass(frozen=True)
class Step:
    """One update of the weights.

    `metrics` has the API's own names: `train_loss`, `train_mean_token_accuracy`; at some steps also
    `valid_loss`, `valid_mean_token_accuracy` (a batch of the validation rows); at the last step of an epoch
    `full_valid_loss`, `full_valid_mean_token_accuracy` (all of them). For dpo, each of the three sets also has
    `…_reward_margin` and `…_reward_accuracy`. For reinforcement there are `train_mean_reward` and, at some
    steps, `full_valid_mean_reward`, each also as `…_score.NAME` for the parts of a multi grader.
    """

    step: int
    total_steps: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointDue:
    """The end of an epoch (counted from 1): a moment to `export`. `metrics` are those of its last step.

    In reinforcement it is a moment at which all validation rows were graded, whichever step that is.
    """

    step: int
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)


Progress: TypeAlias = Step | CheckpointDue


class TrainingSession(Protocol):
    """A training under way, in memory."""

    @property
    def total_steps(self) -> int:
        """How many steps the whole training has, those before a resume included."""
        ...

    @property
    def trained_tokens(self) -> int:
        """How many tokens were learned from so far, each counted once per epoch."""
        ...

    def advance(self) -> Iterator[Progress]:
        """Train. Between two items the training is at rest: `save`, `export` or leave for good.

        After a resume from an older save, steps that were already told come again, with the same numbers.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write all that a resume needs: weights, optimiser, position.

        Atomic, also over an older save. A disk that refuses raises `OSError`; the older save is still good.
        """
        ...

    def export(self, folder: Path) -> None:
        """Write the model alone, for `Trainer.load_model` and `TrainingRun.base`. Atomic, like `save`."""
        ...


class Reply(Iterator[str], Protocol):
    """An answer as it is being written: text, piece by piece. The counts are final once it is exhausted."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the model was given."""
        ...

    @property
    def completion_tokens(self) -> int:
        """Tokens that the model wrote so far."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """None while writing; then "stop" (the model ended, or met a stop text) or "length"."""
        ...


class Chat(Protocol):
    """A model that answers."""

    def complete(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> Reply:
        """Answer a conversation. The same seed gives the same answer; temperature 0 takes the likeliest."""
        ...

    def complete_prompt(
        self,
        prompt: str,
        *,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> Reply:
        """Continue a text."""
        ...


class Trainer(Protocol):
    """A way to train, and the base model that it trains."""

    name: str

    def describe(self) -> dict[str, Any]:
        """The model card: what truly trains here, plainly, so that nobody takes it for a hosted model.

        It has at least `trainer`, the name, and `summary`, a sentence or two.
        """
        ...

    def resolve(self, method: str, requested: Mapping[str, Any], n_examples: int) -> dict[str, Any]:
        """Settle every hyperparameter; `InvalidSpec` for a method or a value that this trainer can't do."""
        ...

    def start(self, run: TrainingRun) -> TrainingSession:
        """Begin a training: read the rows, set up the weights, train nothing yet."""
        ...

    def resume(self, run: TrainingRun, folder: Path) -> TrainingSession:
        """Go on from a folder that `TrainingSession.save` wrote, to exactly the weights of a run without a break."""
        ...

    def base_model(self) -> Chat:
        """The model before any training."""
        ...

    def load_model(self, folder: Path) -> Chat:
        """A model that `TrainingSession.export` wrote."""
        ...
