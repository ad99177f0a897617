"""The model's weights: a row for each hashed feature, a column for each symbol of the alphabet.

The score of a symbol (one of 256 bytes, or the end) is the sum of its weights in the rows of the present features. The
softmax of the scores gives the probabilities. All symbols that never occur in an answer have the same weights at all
times: they start at zero and get the same gradients. So they share one column, which loses nothing and makes the
table several times smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneway_service.trainers.bytewise.features import END, ROWS, blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from tuneway_service.trainers.bytewise.features import Block, Cues

    Floats = NDArray[np.float32]

SYMBOLS = END + 1


@dataclass(frozen=True)
class BytesExample:
    """One answer to learn: the cues of its context, and its symbols."""

    cues: Cues
    symbols: NDArray[np.int64]


class Weights:
    """The table of weights, and the alphabet of its columns; the last column is for all other symbols."""

    def __init__(self, alphabet: Iterable[int] = ()) -> None:
        self.alphabet = sorted({*alphabet, END})
        size = len(self.alphabet)
        self.table = np.zeros((ROWS, size + 1), np.float32)
        self.columns = np.full(SYMBOLS, size)
        self.columns[self.alphabet] = np.arange(size)
        self.symbols_of_column = np.ones(size + 1, np.float32)
        self.symbols_of_column[size] = SYMBOLS - size

    def widened(self, symbols: Iterable[int]) -> Weights:
        """A copy that has a column of its own for each of these symbols."""
        wider = Weights({*self.alphabet, *symbols})
        wider.table[:] = self.table[:, np.append(self.columns[wider.alphabet], len(self.alphabet))]
        return wider

    @property
    def untrained(self) -> bool:
        """Whether all weights are zero."""
        return not self.table.any()

    def scores(self, block: Block) -> Floats:
        """The score of each column at each position."""
        total: Floats = (self.table[block.rows] * block.scales[:, None]).sum(axis=1)
        if len(self.alphabet) == SYMBOLS:
            total[:, -1] = -np.inf  # every symbol has a column of its own
        return total

    def log_probabilities(self, block: Block) -> Floats:
        """For each position and column, the logarithm of the probability of *one* of its symbols."""
        scores = self.scores(block)
        top = scores.max(axis=1, keepdims=True)
        scores -= top
        total = (np.exp(scores) * self.symbols_of_column).sum(axis=1, keepdims=True)
        scores -= np.log(total)
        return scores

    def read(self, example: BytesExample) -> Reading:
        """Measure an example, without learning from it."""
        log_likelihood, hits, errors = 0.0, 0, []
        for part, block in blocks(example.cues, example.symbols):
            targets = self.columns[example.symbols[part]]
            positions = np.arange(len(targets))
            logs = self.log_probabilities(block)
            log_likelihood += float(logs[positions, targets].sum(dtype=np.float64))
            # The last column stands for several symbols, so it never counts as right.
            hits += int(((logs.argmax(axis=1) == targets) & (targets < len(self.alphabet))).sum())
            gradient = np.exp(logs)
            gradient[positions, targets] -= 1
            errors.append((block, gradient))
        return Reading(log_likelihood, hits, errors)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The numbers and the weights of the rows that aren't zero."""
        rows = np.flatnonzero(self.table.any(axis=1))
        return {"rows": rows.astype(np.uint32), "weights": self.table[rows]}

    @classmethod
    def from_arrays(cls, alphabet: list[int], rows: NDArray[Any], values: NDArray[Any]) -> Weights:
        """The weights of `to_arrays`."""
        weights = cls(alphabet)
        weights.table[rows] = values
        return weights


@dataclass(frozen=True)
class Reading:
    """The measures of an example: its log-likelihood, the symbols predicted right, the gradients of the loss."""

    log_likelihood: float
    hits: int
    errors: list[tuple[Block, Floats]]


class AdaGrad:
    """The optimiser: the steps of each row shrink with the gradients that the row has had."""

    def __init__(self, columns: int) -> None:
        # Not zero, because otherwise a row's first gradient makes a full step, however small it is.
        self.energy = np.full(ROWS, 1e-3, np.float32)
        self._gradient = np.zeros((ROWS, columns), np.float32)
        self._touched = np.zeros(ROWS, np.bool_)

    def add(self, reading: Reading, factor: float = 1.0) -> None:
        """Add a reading's gradients, `factor` times, to the next step."""
        for block, errors in reading.errors:
            # Sorting brings the entries of a row together; with 16 bits, NumPy uses radix sort.
            order = np.argsort(block.rows.astype(np.uint16), axis=None, kind="stable")
            rows = block.rows.ravel()[order]
            position, feature = np.divmod(order, len(block.scales))
            entries = errors[position] * (block.scales * np.float32(factor))[feature, None]
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            self._gradient[rows[starts]] += np.add.reduceat(entries, starts, axis=0)
            self._touched[rows[starts]] = True

    def step(self, weights: Weights, rate: float) -> float:
        """Change the weights by the gradients since the last step; returns the largest changed weight."""
        rows = np.flatnonzero(self._touched)
        gradient = self._gradient[rows]
        self.energy[rows] += (gradient * gradient * weights.symbols_of_column).sum(axis=1)
        moved = weights.table[rows] - np.float32(rate) * gradient / np.sqrt(self.energy[rows])[:, None]
        weights.table[rows] = moved
        self._gradient[rows] = 0
        self._touched[rows] = False
        return float(np.abs(moved).max(initial=0))
