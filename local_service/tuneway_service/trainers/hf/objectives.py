"""What an objective is to the loop, and the rows that it learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tuneway_service.trainers.rows import Row, Rows, nothing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from tuneway_service.trainers.metric_sums import MetricSums

T = TypeVar("T")


class HfObjective(Protocol):
    """What is learned from which rows."""

    train: HfDataset[Any]
    valid: HfDataset[Any] | None

    def prepare(self) -> None:
        """Find out what must be known of the model as it is at the beginning, unless that is remembered."""
        ...

    def beginning(self) -> dict[str, torch.Tensor]:
        """What `prepare` found out, to be saved."""
        ...

    def remember(self, beginning: dict[str, torch.Tensor]) -> None:
        """Take that up again."""
        ...

    def learn(self, rows: Sequence[int], step: int) -> MetricSums:
        """Measure training rows, and leave the gradient of their mean loss in the weights."""
        ...

    def measure(self, rows: Sequence[int], step: int) -> MetricSums:
        """Measure validation rows."""
        ...

    def tokens(self, row: int) -> int:
        """How many tokens are learned from a training row."""
        ...


class Forgetful:
    """An objective that needs to know nothing of the beginning."""

    def prepare(self) -> None:
        """Nothing to find out."""

    def beginning(self) -> dict[str, torch.Tensor]:
        """Nothing to save."""
        return {}

    def remember(self, beginning: dict[str, torch.Tensor]) -> None:
        """Nothing to take up."""


class HfDataset(Generic[T]):
    """What there is to learn, by row; rows without anything to learn are left out.

    Args:
        path: The rows, as JSONL.
        read: Makes the lesson of a row; something empty, if there is none in it.
    """

    def __init__(self, path: Path, read: Callable[[Row], T]) -> None:
        self._items: list[T] = []

        def take(row: Row) -> bool:
            lesson = read(row)
            if lesson:
                self._items.append(lesson)
            return bool(lesson)

        self.sha256 = Rows(path, take).sha256
        if not self._items:
            raise nothing_in(path)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, row: int) -> T:
        return self._items[row]
