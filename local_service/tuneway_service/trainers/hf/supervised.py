"""Supervised training: the mean cross-entropy of the learned tokens of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tuneway_service.trainers.hf.objectives import HfDataset, StatelessObjective
from tuneway_service.trainers.hf.reading import RowReading
from tuneway_service.trainers.hf.scoring import Scored, over_parts, score
from tuneway_service.trainers.metric_sums import MetricSums

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuneway_service.trainers.hf.models import Tuned
    from tuneway_service.trainers.hf.preparing import Preparer
    from tuneway_service.trainers.hf.tokens import Example


class HfSupervised(StatelessObjective):
    """Learns the answers of the rows."""

    def __init__(self, tuned: Tuned, preparer: Preparer, train: Path, valid: Path | None) -> None:
        self.tuned = tuned

        def read(path: Path) -> HfDataset[list[Example]]:
            return HfDataset(path, RowReading("supervised"), preparer, lambda examples, _: examples)

        self.train = read(train)
        self.valid = read(valid) if valid else None

    def tokens(self, row: int) -> int:
        """The number of tokens of the row's answers."""
        return sum(example.learned for example in self.train[row])

    def learn(self, rows: Sequence[int], step: int) -> MetricSums:  # noqa: ARG002 - it is the same at every step
        """Learn from rows; each learned token of the batch has the same weight, whichever part it is in."""
        total = sum(self.tokens(row) for row in rows)
        return self._go_over(
            [example for row in rows for example in self.train[row]],
            lambda scored: (-scored.log_probabilities.sum() / total).backward(),
            learning=True,
        )

    def measure(self, rows: Sequence[int], step: int) -> MetricSums:  # noqa: ARG002
        """Measure validation rows."""
        assert self.valid is not None
        with torch.no_grad():
            return self._go_over([example for row in rows for example in self.valid[row]], lambda _: None)

    def _go_over(
        self, examples: Sequence[Example], act: Callable[[Scored], None], *, learning: bool = False
    ) -> MetricSums:
        def add(sums: MetricSums, _: Sequence[int], part: Sequence[Example]) -> None:
            scored = score(self.tuned, part)
            act(scored)
            learned = int(scored.mask.sum())
            sums.add_loss(-float(scored.log_probabilities.detach().sum()), learned)
            sums.add_hits(int(scored.hits.sum()), learned)

        return over_parts(self.tuned, [[example] for example in examples], add, learning=learning)
