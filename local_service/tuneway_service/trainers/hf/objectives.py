"""The protocol of an objective, and the examples that it learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tuneway_service.trainers.cut_rows import CutRows
from tuneway_service.trainers.rows import Row, nothing_in, row_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from tuneway_service.trainers.base import Remark
    from tuneway_service.trainers.hf.preparing import Preparer
    from tuneway_service.trainers.hf.reading import RowReading
    from tuneway_service.trainers.hf.tokens import Example
    from tuneway_service.trainers.metric_sums import MetricSums

T = TypeVar("T", bound="Sequence[Any]")


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

    def groups(self, seconds: float) -> dict[str, Any]:
        """The API's nested metrics of the last step, which took this long."""
        ...

    def remarks(self, step: int) -> tuple[Remark, ...]:
        """What there is to say about this step, which was the last one."""
        ...


class PlainObjective:
    """An objective that has nothing to say about a step but its metrics."""

    def groups(self, seconds: float) -> dict[str, Any]:  # noqa: ARG002
        """No nested metrics."""
        return {}

    def remarks(self, step: int) -> tuple[Remark, ...]:  # noqa: ARG002
        """Nothing to say."""
        return ()


class StatelessObjective(PlainObjective):
    """An objective that doesn't need the model's state before the first step."""

    def prepare(self) -> None:
        """Nothing to measure."""

    def reference(self) -> dict[str, torch.Tensor]:
        """Nothing to save."""
        return {}

    def restore(self, reference: dict[str, torch.Tensor]) -> None:
        """Nothing to restore."""


class HfDataset(Generic[T]):
    """What is learned from each row; rows with nothing to learn are left out.

    Args:
        path: The rows, as JSONL.
        reading: How they are read.
        preparer: Makes their tokens, or has them prepared.
        item: Makes what an objective learns from the examples of a row and the row itself, if it wants that.
    """

    def __init__(
        self, path: Path, reading: RowReading, preparer: Preparer, item: Callable[[list[Example], Callable[[], Row]], T]
    ) -> None:
        self._path = path
        self._item = item
        self._prepared = preparer.prepared(path, reading)
        self.sha256 = self._prepared.sha256
        limit = preparer.encoder.context_length
        self.cut = CutRows(
            path.name,
            f"rows longer than the context of {limit:,} tokens",
            "Shorten them, or raise context_length up to the model's own.",
            **vars(self._prepared.cut),
        )
        if not len(self):
            raise nothing_in(path, self.cut)

    def __len__(self) -> int:
        return len(self._prepared)

    @property
    def longest(self) -> int:
        """The tokens of the longest example."""
        return self._prepared.longest

    @property
    def most_learned(self) -> int:
        """The largest number of tokens that is learned from an example."""
        return self._prepared.most_learned

    @property
    def most_examples(self) -> int:
        """The largest number of examples that a row has."""
        return self._prepared.most_examples

    def __getitem__(self, row: int) -> T:
        if row >= len(self):
            raise IndexError(row)
        return self._item(self._prepared.examples(row), lambda: row_at(self._path, self._prepared.position(row)))
