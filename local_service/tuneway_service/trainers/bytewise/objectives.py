"""The objectives: to learn an answer (supervised), or to prefer one answer to another (dpo)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tuneway_service.trainers.bytewise.features import END, read_cues
from tuneway_service.trainers.bytewise.weights import BytesExample
from tuneway_service.trainers.conversation import Exchange, encoded, exchanges, preference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuneway_service.trainers.bytewise.weights import AdaGrad, Weights
    from tuneway_service.trainers.metric_sums import MetricSums

    BytesExamples = list[BytesExample]

LONGEST = 4096
"""How many bytes of an answer are learned; of a longer answer, the start without its end."""


class BytesObjective(Protocol):
    """Measures a row's examples and, if there is an optimiser, gives it the gradients."""

    def __call__(self, weights: Weights, examples: BytesExamples, sums: MetricSums, optimiser: AdaGrad | None) -> None:
        """Add the row to the sums."""
        ...


def supervised_examples(row: Mapping[str, Any]) -> BytesExamples:
    """One example for each answer that is learned."""
    return [_example(exchange) for exchange in exchanges(row)]


def supervised(weights: Weights, examples: BytesExamples, sums: MetricSums, optimiser: AdaGrad | None) -> None:
    """The cross-entropy of the answers, as a mean over symbols; prompts are not learned."""
    for example in examples:
        reading = weights.read(example)
        sums.add_loss(-reading.log_likelihood, len(example.symbols))
        sums.add_hits(reading.hits, len(example.symbols))
        if optimiser:
            optimiser.add(reading)


def preference_examples(row: Mapping[str, Any]) -> BytesExamples:
    """Two examples: the preferred answer and the other one."""
    return [_example(exchange) for exchange in preference(row)]


@dataclass(frozen=True)
class BytesPreference:
    """Direct preference optimisation: the mean of `-log sigmoid(margin)` over pairs.

    The model's preference is the log-likelihood of the preferred answer minus that of the other. The margin is `beta`
    times the difference between this preference and that of the reference, which is the model at the start. The token
    accuracy is that of the preferred answers.
    """

    reference: Weights
    beta: float

    def __call__(self, weights: Weights, examples: BytesExamples, sums: MetricSums, optimiser: AdaGrad | None) -> None:
        """Add the pair to the sums."""
        preferred, other = (weights.read(example) for example in examples)
        gains = [
            reading.log_likelihood - self.reference.read(example).log_likelihood
            for reading, example in zip((preferred, other), examples, strict=True)
        ]
        margin = self.beta * (gains[0] - gains[1])
        sums.add_loss(float(np.logaddexp(0.0, -margin)), 1)
        sums.add_hits(preferred.hits, len(examples[0].symbols))
        sums.add_pair(margin)
        if optimiser:
            pull = self.beta / (1 + math.exp(min(margin, 500.0)))
            optimiser.add(preferred, pull)
            optimiser.add(other, -pull)


def _example(exchange: Exchange) -> BytesExample:
    answer = encoded(exchange.answer)
    symbols = [*answer[:LONGEST], *([END] if len(answer) <= LONGEST else [])]
    return BytesExample(read_cues(exchange.context), np.array(symbols, np.int64))
