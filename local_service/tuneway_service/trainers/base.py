"""The protocols between the service and a trainer, and the objects that pass between them.

The service asks a `Trainer` to settle the hyperparameters, starts a `TrainingSession`, iterates over its `advance()`,
and turns each `Progress` into events and checkpoints. It loads an exported folder as a `Chat`, to answer questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from tuneway_service.trainers.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuneway_service.graders import Grading

    Grade: TypeAlias = Callable[[Mapping[str, Any], str], Grading]

Message: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The inputs of one training; nothing in them is "auto".

    Args:
        method: "supervised", "dpo" or "reinforcement".
        train_path: The training rows, as JSONL.
        valid_path: The validation rows, which are measured and not learned.
        hyperparameters: The result of `Trainer.resolve`.
        seed: The same seed, rows and hyperparameters give the same weights.
        base: The exported folder to start from; None for the trainer's base model.
        grade: For reinforcement, grades an answer to a row.
        ranks: The processes that train together.
        prepared: A folder for what a trainer makes of the rows before the first step; a resume finds it there. None if
            nothing is kept.
        tell: Takes what there is to say while the training starts, which may take minutes.
    """

    method: str
    train_path: Path
    valid_path: Path | None = None
    hyperparameters: Mapping[str, Any]
    seed: int = 0
    base: Path | None = None
    grade: Grade | None = None
    ranks: Ranks = field(default_factory=Ranks)
    prepared: Path | None = None
    tell: Callable[[Remark], None] = lambda _: None


@dataclass(frozen=True)
class Remark:
    """Something that the owner of the job should know; it becomes an event, once for each mark."""

    text: str
    mark: str
    level: str = "warn"


@dataclass(frozen=True)
class Step:
    """One update of the weights.

    `metrics` uses the API's names: `train_loss` and `train_mean_token_accuracy`; at some steps also `valid_loss` and
    `valid_mean_token_accuracy` (of a batch of validation rows); at the last step of an epoch also `full_valid_loss`
    and `full_valid_mean_token_accuracy` (of all validation rows). dpo adds `…_reward_margin` and
    `…_reward_accuracy` to each of the three. Reinforcement has `train_mean_reward` and, at some steps,
    `full_valid_mean_reward`, and for the parts of a multi grader `…_score.NAME`.

    `groups` are the API's nested metrics of a reinforcement step: `scores`, `errors`, `usage`, `timing` and others.
    Steps with different times are equal, so `groups` isn't compared.
    """

    step: int
    total_steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    groups: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class CheckpointDue:
    """A checkpoint should be exported now: an epoch has ended. `metrics` are those of its last step.

    Epochs are counted from 1. In reinforcement a checkpoint is due after each grading of all validation rows.
    """

    step: int
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)


Progress: TypeAlias = Step | CheckpointDue


class TrainingSession(Protocol):
    """A training in progress, in memory."""

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole training, including those before a resume."""
        ...

    @property
    def trained_tokens(self) -> int:
        """The number of tokens learned so far, each counted once per epoch."""
        ...

    @property
    def remarks(self) -> Sequence[Remark]:
        """What there is to say about the rows before the first step, such as which are too long."""
        ...

    def advance(self) -> Iterator[Progress]:
        """Train. Between two items, the caller may `save`, `export`, or stop for good.

        After a resume from an older save, the steps since then come again, with the same metrics.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything that a resume needs: weights, optimiser, position.

        The write is atomic, and replaces an older save. If the disk fails it raises `OSError`; the older save stays.
        """
        ...

    def export(self, folder: Path) -> None:
        """Write the model only, for `Trainer.load_model` and `TrainingRun.base`; atomic, like `save`."""
        ...


class Reply(Iterator[str], Protocol):
    """An answer while it is generated: pieces of text. The counts are final when the iterator is exhausted."""

    @property
    def prompt_tokens(self) -> int:
        """The number of tokens in the prompt."""
        ...

    @property
    def completion_tokens(self) -> int:
        """The number of tokens that the model has generated so far."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """None during generation; then "stop" (the model ended, or reached a stop text) or "length"."""
        ...

    def cancel(self) -> None:
        """Generate nothing more than the token that is being computed. Another thread may call it."""
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
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> Reply:
        """Answer a conversation.

        Temperature 0 takes the most likely tokens. Otherwise tokens are drawn, and the same seed gives the same answer;
        with `top_p` below 1 only from the most likely tokens that reach this probability together.
        """
        ...

    def complete_prompt(
        self,
        prompt: str,
        *,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
    ) -> Reply:
        """Continue a text."""
        ...


class Trainer(Protocol):
    """A way to train one base model."""

    name: str

    def describe(self) -> dict[str, Any]:
        """The model card. It says plainly what is trained here, so that nobody takes it for a hosted model.

        It has at least `trainer`, the name, and `summary`, one or two sentences.
        """
        ...

    def resolve(self, method: str, requested: Mapping[str, Any], n_examples: int) -> dict[str, Any]:
        """A value for every hyperparameter; raises `InvalidSpec` for methods and values that it doesn't support."""
        ...

    def start(self, run: TrainingRun) -> TrainingSession:
        """Start a training: read the rows and set up the weights, without a step yet."""
        ...

    def resume(self, run: TrainingRun, folder: Path) -> TrainingSession:
        """Resume from a folder of `TrainingSession.save`; the final weights are those of a run without a break."""
        ...

    def base_model(self) -> Chat:
        """The model before any training."""
        ...

    def load_model(self, folder: Path) -> Chat:
        """A model that `TrainingSession.export` wrote."""
        ...
