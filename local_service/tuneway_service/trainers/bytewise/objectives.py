"""What is learned from a row: an answer (supervised), or to prefer one answer to another (dpo)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tuneway_service.trainers.bytewise.features import END, read_cues
from tuneway_service.trainers.bytewise.weights import Lesson
from tuneway_service.trainers.conversation import Exchange, encoded, exchanges, preference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.trainers.bytewise.weights import AdaGrad, Weights
    from tuneway_service.trainers.metric_sums import MetricSums

LONGEST = 4096
"""Bytes of an answer that are learned; of a longer one the beginning, without its end."""


class BytesObjective(Protocol):
    """Measures a row's lessons and, given an optimiser, hands it the gradients."""

    def __call__(self, weights: Weights, lessons: list[Lesson], tally: MetricSums, optimiser: AdaGrad | None) -> None:
        """Add the row's figures to the tally."""
        ...


def supervised_lessons(row: Mapping[str, Any]) -> list[Lesson]:
    """One for each answer that counts; none, if all have weight 0."""
    return [_lesson(exchange) for exchange in exchanges(row)]


def supervised(weights: Weights, lessons: list[Lesson], tally: MetricSums, optimiser: AdaGrad | None) -> None:
    """Cross-entropy of the answers, a mean over symbols; what was asked is never learned."""
    for lesson in lessons:
        reading = weights.read(lesson)
        tally.lose(-reading.log_likelihood, len(lesson.symbols))
        tally.guess(reading.hits, len(lesson.symbols))
        if optimiser:
            optimiser.add(reading)


def preference_lessons(row: Mapping[str, Any]) -> list[Lesson]:
    """Two: the preferred answer and the other."""
    return [_lesson(exchange) for exchange in preference(row)]


@dataclass(frozen=True)
class BytesPreference:
    """Direct preference optimisation: the mean of `-log sigmoid(margin)` over pairs.

    The margin is `beta` times how much further the model prefers the one answer to the other than the
    reference, the model it started from, does. The token accuracy is that of the preferred answers.
    """

    reference: Weights
    beta: float

    def __call__(self, weights: Weights, lessons: list[Lesson], tally: MetricSums, optimiser: AdaGrad | None) -> None:
        """Add the pair's figures to the tally."""
        preferred, other = (weights.read(lesson) for lesson in lessons)
        gains = [
            reading.log_likelihood - self.reference.read(lesson).log_likelihood
            for reading, lesson in zip((preferred, other), lessons, strict=True)
        ]
        margin = self.beta * (gains[0] - gains[1])
        tally.lose(float(np.logaddexp(0.0, -margin)), 1)
        tally.guess(preferred.hits, len(lessons[0].symbols))
        tally.prefer(margin)
        if optimiser:
            pull = self.beta / (1 + math.exp(min(margin, 500.0)))
            optimiser.add(preferred, pull)
            optimiser.add(other, -pull)


def _lesson(exchange: Exchange) -> Lesson:
    answer = encoded(exchange.answer)
    symbols = [*answer[:LONGEST], *([END] if len(answer) <= LONGEST else [])]
    return Lesson(read_cues(exchange.context), np.array(symbols, np.int64))
