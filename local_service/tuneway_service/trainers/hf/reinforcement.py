"""Reinforcement: the model samples several answers to a question, and answers with a high reward become more likely.

This is GRPO with one update for each batch of answers, so that the model that learns from an answer is the one that
gave it. An answer's advantage is its reward minus the mean reward of its group, divided by the group's standard
deviation. Every token of a batch has the same weight (as in DAPO), and there is no KL penalty (TRL's default as well).
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch

from tuneway.errors import InvalidInput, InvalidSpec
from tuneway_service.trainers.hf.hyperparameters import ANSWER_TOKENS, group_size
from tuneway_service.trainers.hf.messages import conversation
from tuneway_service.trainers.hf.objectives import HfDataset, StatelessObjective
from tuneway_service.trainers.hf.sampling import answers_to
from tuneway_service.trainers.hf.scoring import in_parts, score
from tuneway_service.trainers.metric_sums import MetricSums

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tuneway_service.graders import Grading
    from tuneway_service.trainers.base import TrainingRun
    from tuneway_service.trainers.hf.models import Tuned
    from tuneway_service.trainers.hf.tokens import Encoder, Example

    Question = tuple[list[int], Mapping[str, Any]]

AT_ONCE = 8
"""How many answers are graded at the same time; a grader may be a model on another machine."""
EPSILON = 1e-4


class HfReinforcement(StatelessObjective):
    """Learns to give answers with a high reward."""

    def __init__(
        self, tuned: Tuned, encoder: Encoder, train: Path, valid: Path | None, room: int, *, run: TrainingRun
    ) -> None:
        if run.grade is None:
            raise InvalidSpec("reinforcement needs a grader", field="grader")
        settings = run.hyperparameters
        self.tuned = tuned
        self.encoder = encoder
        self.room = room
        self._grade = run.grade
        self._seed = run.seed
        self._group = group_size(settings["compute_multiplier"])
        self._valid_answers: int = settings["eval_samples"]
        self._longest = ANSWER_TOKENS[settings["reasoning_effort"]]
        self.train: HfDataset[Question] = HfDataset(train, self._read, limit=encoder.context_length)
        self.valid = HfDataset(valid, self._read, limit=encoder.context_length) if valid else None
        self._learned: dict[int, int] = {}

    def _read(self, row: Mapping[str, Any]) -> Question:
        messages, tools = conversation(row)
        prompt = self.encoder.prompt(messages, tools)
        room = self.encoder.context_length - self._longest
        if len(prompt) > room:
            raise InvalidInput(
                f"the question has {len(prompt)} tokens; with an answer of {self._longest}, {max(0, room)} fit",
                hint="Shorten it, or lower reasoning_effort.",
            )
        return prompt, row

    def tokens(self, row: int) -> int:
        """The number of tokens of the answers that were sampled last."""
        return self._learned.get(row, 0)

    def learn(self, rows: Sequence[int], step: int) -> MetricSums:
        """Sample answers, grade them, and learn from how each compares with the others to the same question."""
        questions = [self.train[row] for row in rows]
        examples, gradings = self._try(questions, self._group, f"train/{step}")
        rewards = torch.tensor([grading.reward for grading in gradings]).view(len(rows), self._group)
        spread = rewards.std(dim=1, keepdim=True)
        advantages = ((rewards - rewards.mean(dim=1, keepdim=True)) / (spread + EPSILON)).flatten()
        total = sum(example.learned for example in examples)
        for numbers, part in in_parts([[example] for example in examples], self.room):
            scored = score(self.tuned, part)
            worth = advantages[numbers].to(self.tuned.device).unsqueeze(1)
            # this model gave the answers, so the ratio is 1, and only its gradient matters
            ratio = (scored.log_probabilities - scored.log_probabilities.detach()).exp()
            (-(worth * ratio * scored.mask).sum() / total).backward()
        for number, row in enumerate(rows):
            own = examples[number * self._group : (number + 1) * self._group]
            self._learned[row] = sum(example.learned for example in own)
        return _metric_sums(gradings)

    def measure(self, rows: Sequence[int], step: int) -> MetricSums:
        """Sample and grade answers to validation questions, with the same random numbers at every step."""
        assert self.valid is not None
        del step
        _, gradings = self._try([self.valid[row] for row in rows], self._valid_answers, "valid")
        return _metric_sums(gradings)

    def _try(self, questions: Sequence[Question], count: int, place: str) -> tuple[list[Example], list[Grading]]:
        """Sample `count` answers to each question, and grade them; returns them as examples, and the gradings."""
        rng = random.Random(f"{self._seed}/{place}")  # noqa: S311 - no secret
        self.tuned.model.eval()
        prompts = [prompt for prompt, _ in questions for _ in range(count)]
        answers = answers_to(self.tuned, prompts, self._longest, self.room, seed=rng.getrandbits(32))
        self.tuned.model.train()
        items = [item for _, item in questions for _ in range(count)]
        texts = [self.tuned.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            gradings = list(pool.map(self._grade, items, texts))
        _check(gradings)
        examples = [self.encoder.continued(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        return examples, gradings


def _check(gradings: Sequence[Grading]) -> None:
    """Raise `InvalidSpec` if the grader failed for all answers: nothing can be learned."""
    if all(grading.errors for grading in gradings):
        flag, text = next(iter(gradings[0].errors.items()))
        raise InvalidSpec(
            f"the grader failed for every answer of a step: {flag}: {text}"[:1000],
            field="grader",
            hint="Try it with POST /fine_tuning/alpha/graders/run.",
        )


def _metric_sums(gradings: Iterable[Grading]) -> MetricSums:
    sums = MetricSums()
    for grading in gradings:
        sums.add("mean_reward", grading.reward)
        for name, value in grading.scores.items():
            sums.add(f"score.{name}", value)
    return sums
