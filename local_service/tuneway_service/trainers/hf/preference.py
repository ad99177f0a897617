"""Direct preference optimisation: the mean of `-log sigmoid(margin)` over pairs.

The margin is `beta` times how much further the model prefers the one answer to the other than the model that
it started from does. What that model says of each pair is looked up once, before the first step, and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

from tuneway_service.trainers.hf.objectives import HfDataset
from tuneway_service.trainers.hf.scoring import in_parts, score
from tuneway_service.trainers.metric_sums import MetricSums

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuneway_service.trainers.hf.models import Tuned
    from tuneway_service.trainers.hf.scoring import Scored
    from tuneway_service.trainers.hf.tokens import Encoder, Example

    Pair = tuple[Example, Example]


class HfPreference:
    """Prefers one answer to another."""

    def __init__(
        self, tuned: Tuned, encoder: Encoder, train: Path, valid: Path | None, room: int, *, beta: float
    ) -> None:
        self.tuned = tuned
        self.room = room
        self.beta = beta
        self.train: HfDataset[Pair] = HfDataset(train, encoder.preference)
        self.valid = HfDataset(valid, encoder.preference) if valid else None
        self._reference: dict[str, torch.Tensor] = {}

    def prepare(self) -> None:
        """How much the model prefers each pair's first answer before it has learned anything."""
        if self._reference:
            return
        with torch.no_grad():
            for name, lessons in (("train", self.train), ("valid", self.valid)):
                if lessons is not None:
                    self._reference[name] = self._preferences(list(map(lessons.__getitem__, range(len(lessons)))))

    def beginning(self) -> dict[str, torch.Tensor]:
        """These preferences."""
        return self._reference

    def remember(self, beginning: dict[str, torch.Tensor]) -> None:
        """Take them up again."""
        self._reference = {name: preferences.cpu() for name, preferences in beginning.items()}

    def _preferences(self, pairs: Sequence[Pair]) -> torch.Tensor:
        found = torch.zeros(len(pairs))
        for numbers, part in in_parts(pairs, self.room):
            found[numbers] = _preferred(score(self.tuned, part)).cpu()
        return found

    def tokens(self, row: int) -> int:
        """The tokens of both answers."""
        return sum(example.learned for example in self.train[row])

    def learn(self, rows: Sequence[int], step: int) -> MetricSums:  # noqa: ARG002 - it is the same at every step
        """Every pair counts the same."""
        return self._go_over(self.train, "train", rows, learn=True)

    def measure(self, rows: Sequence[int], step: int) -> MetricSums:  # noqa: ARG002
        """The same, without learning."""
        assert self.valid is not None
        with torch.no_grad():
            return self._go_over(self.valid, "valid", rows, learn=False)

    def _go_over(self, lessons: HfDataset[Pair], name: str, rows: Sequence[int], *, learn: bool) -> MetricSums:
        tally = MetricSums()
        reference = self._reference[name][list(rows)]
        for numbers, part in in_parts([lessons[row] for row in rows], self.room):
            scored = score(self.tuned, part)
            margins = self.beta * (_preferred(scored) - reference[numbers].to(self.tuned.device))
            losses = -logsigmoid(margins)
            if learn:
                (losses.sum() / len(rows)).backward()
            tally.lose(float(losses.detach().sum()), len(numbers))
            # the token accuracy is that of the preferred answers
            tally.guess(int(scored.hits[::2].sum()), int(scored.mask[::2].sum()))
            for margin in margins.tolist():
                tally.prefer(margin)
        return tally


def _preferred(scored: Scored) -> torch.Tensor:
    """Rows come in pairs: how much likelier the first answer is."""
    return scored.per_row[::2] - scored.per_row[1::2]
