"""Reinforcement: the model samples several answers to a question, and answers with a high reward become more likely.

This is GRPO with one update for each batch of answers, so that the model that learns from an answer is the one that
gave it. An answer's advantage is its reward minus the mean reward of its group, divided by the group's standard
deviation. Every token of a batch has the same weight (as in DAPO), and there is no KL penalty (TRL's default as well).
Answers for which the grader failed are left out: they have no reward, which isn't a reward of 0.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from tuneway.errors import InvalidSpec
from tuneway_service.graders import Grading
from tuneway_service.trainers.grades import Grades, remark
from tuneway_service.trainers.hf.hyperparameters import ANSWER_TOKENS, MAX_GRADER_FAILURES, group_size
from tuneway_service.trainers.hf.objectives import HfDataset, StatelessObjective
from tuneway_service.trainers.hf.reading import RowReading
from tuneway_service.trainers.hf.sampling import answers_to
from tuneway_service.trainers.hf.scoring import over_parts, score
from tuneway_service.trainers.metric_sums import MetricSums
from tuneway_service.trainers.reward_metrics import StepTrials, Tried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tuneway_service.trainers.base import Remark, TrainingRun
    from tuneway_service.trainers.hf.models import Tuned
    from tuneway_service.trainers.hf.preparing import Preparer
    from tuneway_service.trainers.hf.tokens import Example
    from tuneway_service.trainers.rows import Row

    Question = tuple[list[int], Mapping[str, Any]]

EPSILON = 1e-4


class HfReinforcement(StatelessObjective):
    """Learns to give answers with a high reward."""

    def __init__(self, tuned: Tuned, preparer: Preparer, train: Path, valid: Path | None, *, run: TrainingRun) -> None:
        if run.grade is None:
            raise InvalidSpec("reinforcement needs a grader", field="grader")
        settings = run.hyperparameters
        self.tuned = tuned
        self.encoder = preparer.encoder
        # a job of an earlier version has no such setting
        self._grades = Grades(run.grade, settings.get("max_grader_failures", MAX_GRADER_FAILURES))
        self._seed = run.seed
        self._group = group_size(settings["compute_multiplier"])
        self._valid_answers: int = settings["eval_samples"]
        self._longest = ANSWER_TOKENS[settings["reasoning_effort"]]
        reading = RowReading("reinforcement", self._longest)
        self.train = HfDataset(train, reading, preparer, _question)
        self.valid = HfDataset(valid, reading, preparer, _question) if valid else None
        self._learned: dict[int, int] = {}
        self._trials = StepTrials()

    def tokens(self, row: int) -> int:
        """The number of tokens of the answers that were learned last."""
        return self._learned.get(row, 0)

    def learn(self, rows: Sequence[int], step: int) -> MetricSums:
        """Sample answers, grade them, and learn from how each compares with the others to the same question."""
        examples, tried = self._try([self.train[row] for row in rows], self._group, f"train/{step}")
        self._trials = StepTrials(tried)
        began = time.perf_counter()
        worth = [advantage for group in self._grouped(tried.gradings) for advantage in _advantages(group)]
        compared = [number for number, advantage in enumerate(worth) if advantage is not None]
        self._learned = {
            row: sum(examples[number].learned for number in compared if number // self._group == place)
            for place, row in enumerate(rows)
        }
        advantages = torch.tensor([worth[number] for number in compared])
        total = sum(self._learned.values())

        def add(_: MetricSums, numbers: Sequence[int], part: Sequence[Example]) -> None:
            scored = score(self.tuned, part)
            weight = advantages[list(numbers)].to(self.tuned.device).unsqueeze(1)
            # this model gave the answers, so the ratio is 1, and only its gradient matters
            ratio = (scored.log_probabilities - scored.log_probabilities.detach()).exp()
            (-(weight * ratio * scored.mask).sum() / total).backward()

        over_parts(self.tuned, [[examples[number]] for number in compared], add, learning=True)
        self._trials.training = time.perf_counter() - began
        return _metric_sums(tried.scored)

    def measure(self, rows: Sequence[int], step: int) -> MetricSums:
        """Sample and grade answers to validation questions, with the same random numbers at every step."""
        assert self.valid is not None
        del step
        began = time.perf_counter()
        _, tried = self._try([self.valid[row] for row in rows], self._valid_answers, "valid")
        self._trials.valid, self._trials.eval = tried, time.perf_counter() - began
        return _metric_sums(tried.scored)

    def groups(self, seconds: float) -> dict[str, Any]:
        """The API's nested metrics of the last step."""
        return self._trials.groups(seconds)

    def remarks(self, step: int) -> tuple[Remark, ...]:
        """The answers of this step that are left out, because a grader failed."""
        sides = [(f"the answers of step {step}", self._trials.train)]
        if self._trials.valid is not None:
            sides.append((f"the validation answers of step {step}", self._trials.valid))
        return tuple(found for where, tried in sides if (found := remark(tried.gradings, where)))

    def _try(self, questions: Sequence[Question], count: int, place: str) -> tuple[list[Example], Tried]:
        """Sample `count` answers to each question, and grade them; returns them as examples, and the gradings."""
        self.tuned.model.eval()
        prompts = [prompt for prompt, _ in questions for _ in range(count)]
        began = time.perf_counter()
        answers = answers_to(self.tuned, prompts, self._longest, seed=f"{self._seed}/{place}")
        seconds = time.perf_counter() - began
        self.tuned.model.train()
        gradings = self._graded([item for _, item in questions for _ in range(count)], answers)
        examples = [self.encoder.continued(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        return examples, Tried(gradings, [len(answer) for answer in answers], seconds)

    def _graded(self, items: Sequence[Mapping[str, Any]], answers: Sequence[Sequence[int]]) -> list[Grading]:
        """The grading of each answer. The first process grades; the others get what decides about the training."""
        ranks = self.tuned.ranks
        gradings: list[Grading] = []
        if ranks.first:
            texts = [self.tuned.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
            gradings = self._grades.of(items, texts)
        told = ranks.told([(one.reward, one.scores, one.errors) for one in gradings])
        return gradings or [Grading(reward, scores, errors) for reward, scores, errors in told]

    def _grouped(self, gradings: Sequence[Grading]) -> Iterator[Sequence[Grading]]:
        """The gradings of the answers to each question."""
        return (gradings[start : start + self._group] for start in range(0, len(gradings), self._group))


def _question(examples: list[Example], row: Callable[[], Row]) -> Question:
    return examples[0].ids.tolist(), row()


def _advantages(group: Sequence[Grading]) -> list[float | None]:
    """How each answer compares with the others to the same question; None for answers without a score.

    An answer that is the only one with a score can't be compared.
    """
    known = [grading.reward for grading in group if not grading.failure]
    if len(known) < 2:
        return [None] * len(group)
    rewards = torch.tensor(known)
    mean, spread = float(rewards.mean()), float(rewards.std())
    return [None if grading.failure else (grading.reward - mean) / (spread + EPSILON) for grading in group]


def _metric_sums(gradings: Iterable[Grading]) -> MetricSums:
    sums = MetricSums()
    for grading in gradings:
        sums.add("mean_reward", grading.reward)
        for name, value in grading.scores.items():
            sums.add(f"score.{name}", value)
    return sums
