"""The protocol of an objective, and the examples that it learns from."""

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
    """What a training learns, and from which examples."""

    train: HfDataset[Any]
    valid: HfDataset[Any] | None

    def prepare(self) -> None:
        """Measure the model before its first step, if the objective needs that and it wasn't restored."""
        ...

    def reference(self) -> dict[str, torch.Tensor]:
        """The result of `prepare`, to be saved."""
        ...

    def restore(self, reference: dict[str, torch.Tensor]) -> None:
        """Restore the result of `prepare`."""
        ...

    def learn(self, rows: Sequence[int], step: int) -> MetricSums:
        """Measure training rows, and add the gradient of their mean loss to the weights."""
        ...

    def measure(self, rows: Sequence[int], step: int) -> MetricSums:
        """Measure validation rows."""
        ...

    def tokens(self, row: int) -> int:
        """The number of tokens that are learned from a training row."""
        ...


class StatelessObjective:
    """An objective that doesn't need the model's state before the first step."""

    def prepare(self) -> None:
        """Nothing to measure."""

    def reference(self) -> dict[str, torch.Tensor]:
        """Nothing to save."""
        return {}

    def restore(self, reference: dict[str, torch.Tensor]) -> None:
        """Nothing to restore."""


class HfDataset(Generic[T]):
    """The examples to learn, by row; rows without any are left out.

    Args:
        path: The rows, as JSONL.
        read: Makes the examples of a row; an empty result means that the row has none.
    """

    def __init__(self, path: Path, read: Callable[[Row], T]) -> None:
        self._items: list[T] = []

        def take(row: Row) -> bool:
            example = read(row)
            if example:
                self._items.append(example)
            return bool(example)

        self.sha256 = Rows(path, take).sha256
        if not self._items:
            raise nothing_in(path)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, row: int) -> T:
        return self._items[row]
