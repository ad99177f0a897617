"""Sums over rows, and the metrics that result from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuneway_service.trainers.ranks import Ranks


@dataclass
class MetricSums:
    """Sums over some rows, for metrics that are means."""

    loss: float = 0.0
    losses: int = 0
    hits: int = 0
    tokens: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add_loss(self, loss: float, count: int) -> None:
        """Add a loss that is a sum over `count` items."""
        self.loss += loss
        self.losses += count

    def add_hits(self, hits: int, tokens: int) -> None:
        """Add tokens to the accuracy: their number, and how many of them were the model's first choice."""
        self.hits += hits
        self.tokens += tokens

    def add_pair(self, margin: float) -> None:
        """Add a pair of answers: by how much the preferred one is ahead of the other."""
        self.add("reward_margin", margin)
        self.add("reward_accuracy", float(margin > 0))

    def add(self, name: str, value: float) -> None:
        """Add a value to the mean of this name."""
        self.values.setdefault(name, []).append(value)

    def of_all(self, ranks: Ranks) -> MetricSums:
        """The sums of all processes that train together."""
        if ranks.size == 1:
            return self
        sums = MetricSums()
        for found in ranks.gathered(asdict(self)):
            sums.add_loss(found["loss"], found["losses"])
            sums.add_hits(found["hits"], found["tokens"])
            for name, values in found["values"].items():
                sums.values.setdefault(name, []).extend(values)
        return sums

    def metrics(self, prefix: str) -> dict[str, float]:
        """The means, under the API's names; those without values are left out."""
        found = {}
        if self.losses:
            found[f"{prefix}_loss"] = self.loss / self.losses
        if self.tokens:
            found[f"{prefix}_mean_token_accuracy"] = self.hits / self.tokens
        return found | {f"{prefix}_{name}": sum(values) / len(values) for name, values in self.values.items()}
