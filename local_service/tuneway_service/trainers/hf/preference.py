"""Direct preference optimisation: the mean of `-log sigmoid(margin)` over pairs.

A model's preference is the log-probability of the preferred answer minus that of the other. The margin is `beta` times
the difference between this preference and that of the reference, the model at the start. The preferences of the
reference are computed once, before the first step, and saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

from tuneway_service.trainers.hf.objectives import HfDataset, PlainObjective
from tuneway_service.trainers.hf.reading import RowReading
from tuneway_service.trainers.hf.scoring import over_parts, score
from tuneway_service.trainers.metric_sums import MetricSums

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuneway_service.trainers.hf.models import Tuned
    from tuneway_service.trainers.hf.preparing import Preparer
    from tuneway_service.trainers.hf.scoring import Scored
    from tuneway_service.trainers.hf.tokens import Example

    Pair = tuple[Example, ...]


class HfPreference(PlainObjective):
    """Learns to prefer one answer to another."""

    def __init__(self, tuned: Tuned, preparer: Preparer, train: Path, valid: Path | None, *, beta: float) -> None:
        self.tuned = tuned
        self.beta = beta

        def read(path: Path) -> HfDataset[Pair]:
            return HfDataset(path, RowReading("dpo"), preparer, lambda examples, _: tuple(examples))

        self.train = read(train)
        self.valid = read(valid) if valid else None
        self._reference: dict[str, torch.Tensor] = {}

    def prepare(self) -> None:
        """Compute the preferences of the model at the start."""
        if self._reference:
            return
        with torch.no_grad():
            for name, dataset in (("train", self.train), ("valid", self.valid)):
                if dataset is not None:
                    self._reference[name] = self._preferences(list(map(dataset.__getitem__, range(len(dataset)))))

    def reference(self) -> dict[str, torch.Tensor]:
        """The preferences of the model at the start."""
        return self._reference

    def restore(self, reference: dict[str, torch.Tensor]) -> None:
        """Restore them."""
        self._reference = {name: preferences.cpu() for name, preferences in reference.items()}

    def _preferences(self, pairs: Sequence[Pair]) -> torch.Tensor:
        found = torch.zeros(len(pairs))

        def add(_: MetricSums, numbers: Sequence[int], part: Sequence[Example]) -> None:
            found[list(numbers)] = _preferred(score(self.tuned, part)).cpu()

        over_parts(self.tuned, pairs, add)
        self.tuned.ranks.add_up(found)
        return found

    def tokens(self, row: int) -> int:
        """The number of tokens of both answers."""
        return sum(example.learned for example in self.train[row])

    def learn(self, rows: Sequence[int], step: int) -> MetricSums:  # noqa: ARG002 - it is the same at every step
        """Learn from pairs; each pair has the same weight."""
        return self._go_over(self.train, "train", rows, learn=True)

    def measure(self, rows: Sequence[int], step: int) -> MetricSums:  # noqa: ARG002
        """Measure validation pairs."""
        assert self.valid is not None
        with torch.no_grad():
            return self._go_over(self.valid, "valid", rows, learn=False)

    def _go_over(self, dataset: HfDataset[Pair], name: str, rows: Sequence[int], *, learn: bool) -> MetricSums:
        reference = self._reference[name][list(rows)]

        def add(sums: MetricSums, numbers: Sequence[int], part: Sequence[Example]) -> None:
            scored = score(self.tuned, part)
            margins = self.beta * (_preferred(scored) - reference[list(numbers)].to(self.tuned.device))
            losses = -logsigmoid(margins)
            if learn:
                (losses.sum() / len(rows)).backward()
            sums.add_loss(float(losses.detach().sum()), len(numbers))
            # the token accuracy is that of the preferred answers
            sums.add_hits(int(scored.hits[::2].sum()), int(scored.mask[::2].sum()))
            for margin in margins.tolist():
                sums.add_pair(margin)

        return over_parts(self.tuned, [dataset[row] for row in rows], add, learning=learn)


def _preferred(scored: Scored) -> torch.Tensor:
    """The preference for the first answer of each pair; rows alternate between the two."""
    return scored.per_row[::2] - scored.per_row[1::2]
