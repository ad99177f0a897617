"""What some rows have come to, and the metrics that the API makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class MetricSums:
    """Sums over some rows, and the metrics that they make."""

    loss: float = 0.0
    losses: int = 0
    hits: int = 0
    tokens: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def lose(self, loss: float, count: int) -> None:
        """Take a loss, which is the sum of so many, into the mean."""
        self.loss += loss
        self.losses += count

    def guess(self, hits: int, tokens: int) -> None:
        """Take tokens into the accuracy: how many there were, and how many of them were the first guess."""
        self.hits += hits
        self.tokens += tokens

    def prefer(self, margin: float) -> None:
        """Take a pair of answers into the means over pairs: by how much the preferred one is ahead of the other."""
        self.add("reward_margin", margin)
        self.add("reward_accuracy", float(margin > 0))

    def add(self, name: str, value: float) -> None:
        """Take a value into the mean of that name."""
        self.values.setdefault(name, []).append(value)

    def metrics(self, prefix: str) -> dict[str, float]:
        """Means, under the API's names; nothing where there was nothing to measure."""
        found = {}
        if self.losses:
            found[f"{prefix}_loss"] = self.loss / self.losses
        if self.tokens:
            found[f"{prefix}_mean_token_accuracy"] = self.hits / self.tokens
        return found | {f"{prefix}_{name}": sum(values) / len(values) for name, values in self.values.items()}
